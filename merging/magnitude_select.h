// The exact k-th largest magnitude of theta_i - theta_0 over a tensor, for several models in one
// go, by radix selection on the bits of the float32 difference: a histogram of the upper 16 bits,
// then one of the lower 15 bits inside the bin that holds the k-th. No difference is stored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "merging/tile.h"

namespace growmerge::merging {

/// Which entries of one model survive: magnitudes above `threshold` (as the bits of |delta|), and
/// of those equal to it the first ones by index. With ties_before, a tile knows where it stands.
struct MagnitudeCut {
  bool keep_all = false;
  bool keep_none = false;
  std::uint32_t threshold = 0;            // bits of the k-th largest |delta|
  std::int64_t ties_kept = 0;             // how many entries equal to it survive
  std::int64_t ties = 0;                  // how many there are
  std::vector<std::int64_t> ties_before;  // per tile; empty where all ties survive
};

/// k = max(1, int(density n)) entries survive; none where density is 0, all where it is 1. Cost: no
/// pass where every density is 0 or 1, else two or three over base and models.
[[nodiscard]] std::vector<MagnitudeCut> select_magnitudes(std::int64_t n, const TileSource& base,
                                                          std::span<const TileSource* const> models,
                                                          std::span<const double> densities);

/// Sets to zero what does not survive, in place. `delta` holds the tile's differences.
void apply_cut(const MagnitudeCut& cut, std::int64_t tile, std::int64_t count, float* delta);

/// out = a - b, float32.
void subtract_tile(const float* a, const float* b, std::int64_t count, float* out);

}  // namespace growmerge::merging
