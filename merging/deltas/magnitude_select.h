// The exact k-th largest magnitude of theta_i - theta_0 over a tensor, for several models in one
// go, without storing or sorting differences. One pass as a rule (magnitude_bracket.h), else radix
// selection on the bits of the float32 difference: a histogram of the upper 16 bits, then one of
// the lower 15 bits inside the bin that holds the k-th.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "merging/tile.h"

namespace growmerge::merging {

/// Which entries of one model survive: magnitudes above `threshold` (as the bits of |delta|), and
/// of those equal to it the first ones by index.
struct MagnitudeCut {
  bool keep_all = false;
  bool keep_none = false;
  std::uint32_t threshold = 0;            // bits of the k-th largest |delta|
  std::int64_t ties_kept = 0;             // how many entries equal to it survive
  std::vector<std::int64_t> ties_before;  // up to each tile; the last entry counts all
};

/// k = max(1, int(density n)) entries survive; none where density is 0, all where it is 1. Cost: no
/// pass where every density is 0 or 1, else one over base and models, or four where a sample
/// misleads.
[[nodiscard]] std::vector<MagnitudeCut> select_magnitudes(std::int64_t n, const TileSource& base,
                                                          std::span<const TileSource* const> models,
                                                          std::span<const double> densities);

/// The same for the counts[m] largest of each model, from 0 to n.
[[nodiscard]] std::vector<MagnitudeCut> select_largest(std::int64_t n, const TileSource& base,
                                                       std::span<const TileSource* const> models,
                                                       std::span<const std::int64_t> counts);

/// A cut as one tile needs it: magnitudes of at least `at_least` survive, and where `ties_left` is
/// not negative only so many of those that equal it.
struct TileCut {
  std::uint32_t at_least = 0;
  std::int64_t ties_left = -1;
};
[[nodiscard]] TileCut cut_of_tile(const MagnitudeCut& cut, std::int64_t tile);
/// Whether the tile's next entry survives, of these magnitude bits. To be asked for all, in order.
[[nodiscard]] inline bool survives(TileCut& cut, std::uint32_t bits) {
  if (bits != cut.at_least || cut.ties_left < 0) {
    return bits >= cut.at_least;
  }
  if (cut.ties_left == 0) {
    return false;
  }
  --cut.ties_left;
  return true;
}

}  // namespace growmerge::merging
