#include "merging/deltas/active.h"

#include <cmath>

namespace growmerge::merging {

void load_active(const TensorTask& task, float epsilon, std::int64_t offset, std::int64_t count,
                 ActiveTile& tile) {
  const auto size = static_cast<std::size_t>(count);
  tile.base.resize(size);
  tile.delta.resize(task.inputs.size());
  tile.active.assign(size, 0);
  task.base.load(offset, count, tile.base.data());
  for (std::size_t m = 0; m < task.inputs.size(); ++m) {
    std::vector<float>& delta = tile.delta[m];
    delta.resize(size);
    task.inputs[m].weights.load(offset, count, delta.data());
    for (std::size_t i = 0; i < size; ++i) {
      delta[i] -= tile.base[i];
      const bool is_active = std::fabs(delta[i]) > epsilon;
      delta[i] = is_active ? delta[i] : 0.0F;
      tile.active[i] += is_active ? 1 : 0;
    }
  }
}

}  // namespace growmerge::merging
