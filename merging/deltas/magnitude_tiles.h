// |theta_i - theta_0| of a run of tiles, as the bits of the float32 magnitude.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "merging/tile.h"

namespace growmerge::merging {

/// out = bits of |a - b|.
void magnitude_bits(const float* a, const float* b, std::int64_t count, std::uint32_t* out);

/// Calls visit(model, tile, bits, count) for tiles [begin, end) of a tensor of n elements and each
/// of the `wanted` models, tile by tile. On the calling thread, in its tile_scratch().
template <class Visit>
void for_each_magnitude_tile(std::int64_t n, const TileSource& base,
                             std::span<const TileSource* const> models,
                             std::span<const std::size_t> wanted, std::int64_t begin,
                             std::int64_t end, const Visit& visit) {
  float* base_tile = tile_scratch(3);
  float* model_tile = base_tile + kTileElements;
  auto* bits = reinterpret_cast<std::uint32_t*>(base_tile + 2 * kTileElements);
  for (std::int64_t tile = begin; tile < end; ++tile) {
    const std::int64_t offset = tile * kTileElements;
    const std::int64_t count = std::min(kTileElements, n - offset);
    base.load(offset, count, base_tile);
    for (const std::size_t m : wanted) {
      models[m]->load(offset, count, model_tile);
      magnitude_bits(model_tile, base_tile, count, bits);
      visit(m, tile, bits, count);
    }
  }
}

}  // namespace growmerge::merging
