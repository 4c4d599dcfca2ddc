#include "merging/methods/ram.h"

#include <algorithm>

#include "merging/deltas/active.h"

namespace growmerge::merging {

void ram_merge(const TensorTask& task) {
  const auto epsilon = static_cast<float>(task.arguments.number(kRamEpsilon));
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    thread_local ActiveTile tile;
    load_active(task, epsilon, offset, count, tile);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      float sum = 0.0F;
      for (const std::vector<float>& delta : tile.delta) {
        sum += delta[i] / static_cast<float>(std::max(1, tile.active[i]));
      }
      tile.base[i] += sum;
    }
    return tile.base.data();
  });
}

}  // namespace growmerge::merging
