#include "merging/methods/linear.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/simd.h"
#include "merging/methods/weight_sum.h"

namespace growmerge::merging {
namespace {

/// sum += scale x. Fused on purpose: one rounding less a model, and the bits of mergekit's
/// `linear`. Where the machine has no fused multiply-add the library's exact one is called, slower
/// and with the same bits.
GM_SIMD void add_scaled(const float* x, float scale, std::int64_t count, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    sum[i] = __builtin_fmaf(scale, x[i], sum[i]);
  }
}

}  // namespace

void linear_merge(const TensorTask& task) {
  const std::vector<float> weights = task.of_models(kWeight);
  const bool normalize = task.arguments.flag(kNormalize);
  const float divisor = normalize ? weight_sum(weights) : 1.0F;
  GM_CHECK(divisor != 0.0F, kInvalidArgument, "merging tensor '", task.name,
           "': the weights sum to 0 and normalize is on: change a weight or set normalize: false");
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* result = tile_scratch(1);
    // Block by block, so that the running sums stay in L1 while the models pass by.
    alignas(64) float x[kBlockElements];
    for (std::int64_t begin = 0; begin < count; begin += kBlockElements) {
      const std::int64_t size = std::min(kBlockElements, count - begin);
      float* sum = result + begin;
      std::fill_n(sum, size, 0.0F);
      for (std::size_t m = 0; m < weights.size(); ++m) {
        task.inputs[m].weights.load(offset + begin, size, x);
        add_scaled(x, weights[m], size, sum);
      }
      if (normalize) {
        divide_by(divisor, size, sum);
      }
    }
    return result;
  });
}

}  // namespace growmerge::merging
