#include "merging/methods/ramplus_tl.h"

#include <algorithm>

#include "merging/deltas/active.h"

namespace growmerge::merging {
namespace {

/// Entries of a model that are active, and of those, the ones in which no other is.
struct Counts {
  std::int64_t active = 0;
  std::int64_t alone = 0;
};

std::vector<Counts> count_active(const TensorTask& task, float epsilon) {
  const std::size_t size = task.inputs.size();
  std::vector<std::vector<Counts>> tiles(static_cast<std::size_t>(num_tiles(task.num_elements)),
                                         std::vector<Counts>(size));
  for_each_tile(task.num_elements,
                [&](std::int64_t number, std::int64_t offset, std::int64_t count) {
                  thread_local ActiveTile tile;
                  load_active(task, epsilon, offset, count, tile);
                  for (std::size_t m = 0; m < size; ++m) {
                    Counts& counts = tiles[static_cast<std::size_t>(number)][m];
                    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
                      const bool is_active = tile.delta[m][i] != 0.0F;
                      counts.active += is_active ? 1 : 0;
                      counts.alone += is_active && tile.active[i] == 1 ? 1 : 0;
                    }
                  }
                });
  std::vector<Counts> out(size);
  for (const std::vector<Counts>& tile : tiles) {
    for (std::size_t m = 0; m < size; ++m) {
      out[m].active += tile[m].active;
      out[m].alone += tile[m].alone;
    }
  }
  return out;
}

}  // namespace

void ramplus_tl_merge(const TensorTask& task) {
  const auto number = [&task](const Parameter& parameter) {
    return static_cast<float>(task.arguments.number(parameter));
  };
  const float epsilon = number(kRamEpsilon);
  std::vector<float> factors;
  for (const Counts& counts : count_active(task, epsilon)) {
    // Float32 throughout: mergekit's bits.
    const float ratio = static_cast<float>(counts.active - counts.alone) /
                        std::max(static_cast<float>(counts.alone), epsilon);
    factors.push_back(1.0F + number(kRamR) * std::clamp(ratio, 0.0F, number(kRamAlpha)));
  }
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    thread_local ActiveTile tile;
    load_active(task, epsilon, offset, count, tile);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      float sum = 0.0F;
      for (std::size_t m = 0; m < factors.size(); ++m) {
        sum += tile.active[i] == 1
                   ? tile.delta[m][i] * factors[m]
                   : tile.delta[m][i] / static_cast<float>(std::max(1, tile.active[i]));
      }
      tile.base[i] += sum;
    }
    return tile.base.data();
  });
}

}  // namespace growmerge::merging
