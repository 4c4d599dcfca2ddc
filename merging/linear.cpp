#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/simd.h"
#include "merging/method.h"

namespace growmerge::merging {
namespace {

// Fused on purpose: one rounding less a model, and the bits of mergekit's `linear`. Where the
// machine has no fused multiply-add the library's exact one is called, slower and with the same
// bits.
GM_SIMD void add_scaled(const float* x, float scale, std::int64_t count, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    sum[i] = __builtin_fmaf(scale, x[i], sum[i]);
  }
}

GM_SIMD void add_scaled_difference(const float* x, const float* base, float scale,
                                   std::int64_t count, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    sum[i] += scale * (x[i] - base[i]);
  }
}

GM_SIMD void divide(float divisor, std::int64_t count, float* x) {
  for (std::int64_t i = 0; i < count; ++i) {
    x[i] /= divisor;
  }
}

GM_SIMD void add_base(const float* base, float lambda, std::int64_t count, float* x) {
  for (std::int64_t i = 0; i < count; ++i) {
    x[i] = base[i] + lambda * x[i];
  }
}

/// The sum of the weights as float32 sees them.
float weight_sum(const TensorTask& task) {
  float sum = 0.0F;
  for (const TensorTask::Input& input : task.inputs) {
    sum += static_cast<float>(input.weight);
  }
  return sum;
}

}  // namespace

void linear_merge(const TensorTask& task) {
  const float divisor = task.normalize ? weight_sum(task) : 1.0F;
  GM_CHECK(divisor != 0.0F, kInvalidArgument, "merging tensor '", task.name,
           "': the weights sum to 0 and normalize is on: change a weight or set normalize: false");
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* result = tile_scratch(1);
    alignas(64) float x[kBlockElements];
    for (std::int64_t begin = 0; begin < count; begin += kBlockElements) {
      const std::int64_t size = std::min(kBlockElements, count - begin);
      float* sum = result + begin;
      std::fill_n(sum, size, 0.0F);
      for (const TensorTask::Input& input : task.inputs) {
        input.weights.load(offset + begin, size, x);
        add_scaled(x, static_cast<float>(input.weight), size, sum);
      }
      if (task.normalize) {
        divide(divisor, size, sum);
      }
    }
    return result;
  });
}

void task_arithmetic_merge(const TensorTask& task) {
  float divisor = weight_sum(task);
  if (!task.normalize || std::abs(divisor) < 1e-8F) {
    divisor = 1.0F;
  }
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* sum = tile_scratch(3);
    float* base = sum + kTileElements;
    float* x = base + kTileElements;
    std::fill_n(sum, count, 0.0F);
    task.base.load(offset, count, base);
    for (const TensorTask::Input& input : task.inputs) {
      input.weights.load(offset, count, x);
      add_scaled_difference(x, base, static_cast<float>(input.weight), count, sum);
    }
    if (divisor != 1.0F) {
      divide(divisor, count, sum);
    }
    add_base(base, static_cast<float>(task.lambda), count, sum);
    return sum;
  });
}

}  // namespace growmerge::merging
