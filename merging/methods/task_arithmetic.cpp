#include "merging/methods/task_arithmetic.h"

#include <algorithm>
#include <cmath>

#include "core/base/simd.h"
#include "merging/methods/weight_sum.h"

namespace growmerge::merging {
namespace {

/// sum += scale (x - base)
GM_SIMD void add_scaled_difference(const float* x, const float* base, float scale,
                                   std::int64_t count, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    sum[i] += scale * (x[i] - base[i]);
  }
}

/// x = base + lambda x
GM_SIMD void add_base(const float* base, float lambda, std::int64_t count, float* x) {
  for (std::int64_t i = 0; i < count; ++i) {
    x[i] = base[i] + lambda * x[i];
  }
}

}  // namespace

void task_arithmetic_merge(const TensorTask& task) {
  const std::vector<float> weights = task.of_models(kWeight);
  const auto lambda = static_cast<float>(task.arguments.number(kLambda));
  float divisor = weight_sum(weights);
  // As mergekit: weights that cancel leave the sum as it is instead of blowing it up.
  if (!task.arguments.flag(kNormalize) || std::abs(divisor) < 1e-8F) {
    divisor = 1.0F;
  }
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* sum = tile_scratch(3);
    float* base = sum + kTileElements;
    float* x = base + kTileElements;
    std::fill_n(sum, count, 0.0F);
    task.base.load(offset, count, base);
    for (std::size_t m = 0; m < weights.size(); ++m) {
      task.inputs[m].weights.load(offset, count, x);
      add_scaled_difference(x, base, weights[m], count, sum);
    }
    if (divisor != 1.0F) {
      divide_by(divisor, count, sum);
    }
    add_base(base, lambda, count, sum);
    return sum;
  });
}

}  // namespace growmerge::merging
