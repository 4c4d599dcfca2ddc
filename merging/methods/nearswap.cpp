#include "merging/methods/nearswap.h"

#include <algorithm>
#include <cmath>

namespace growmerge::merging {

void nearswap_merge(const TensorTask& task) {
  constexpr float kSmallest = 1e-6F;
  const auto t = static_cast<float>(task.arguments.number(kNearswapT));
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* out = tile_scratch(2);
    float* base = out + kTileElements;
    task.inputs[0].weights.load(offset, count, out);
    task.base.load(offset, count, base);
    for (std::int64_t i = 0; i < count; ++i) {
      const float distance = std::max(std::fabs(base[i] - out[i]), kSmallest);
      // A product with the reciprocal: mergekit's bits.
      const float g = std::clamp(t * (1.0F / distance), 0.0F, 1.0F);
      out[i] = g * out[i] + (1.0F - g) * base[i];
    }
    return out;
  });
}

}  // namespace growmerge::merging
