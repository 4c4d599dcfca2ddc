#include <algorithm>
#include <atomic>

#include "core/base/error.h"
#include "core/base/simd.h"
#include "merging/method.h"

namespace growmerge::merging {
namespace {

constexpr float kFisherFloor = 1e-6F;

GM_SIMD void add_precise(const float* theta, const float* fisher, float scale, float weight,
                         std::int64_t count, float* sum, float* divisor) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float normalized = fisher[i] * scale;
    const float precision = weight * (normalized > kFisherFloor ? normalized : kFisherFloor);
    sum[i] += precision * theta[i];
    divisor[i] += precision;
  }
}

GM_SIMD bool divide_each(const float* divisor, std::int64_t count, float* sum) {
  std::uint32_t zeros = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    zeros |= divisor[i] == 0.0F ? 1U : 0U;
    sum[i] /= divisor[i];
  }
  return zeros == 0;
}

GM_SIMD bool any_negative(const float* x, std::int64_t count) {
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    found |= x[i] < 0.0F ? 1U : 0U;
  }
  return found != 0;
}

}  // namespace

void fisher_merge(const TensorTask& task) {
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* sum = tile_scratch(4);
    float* divisor = sum + kTileElements;
    float* theta = divisor + kTileElements;
    float* fisher = theta + kTileElements;
    std::fill_n(sum, 2 * kTileElements, 0.0F);
    for (const TensorTask::Input& input : task.inputs) {
      input.weights.load(offset, count, theta);
      input.fisher.load(offset, count, fisher);
      GM_CHECK(!any_negative(fisher, count), kCorrupt, input.fisher.label,
               " is negative somewhere: a mean of squares cannot be");
      add_precise(theta, fisher, static_cast<float>(input.fisher_scale),
                  static_cast<float>(input.weight), count, sum, divisor);
    }
    GM_CHECK(divide_each(divisor, count, sum), kInvalidArgument, "merging tensor '", task.name,
             "': the weights times Fisher sum to 0: change a weight");
    return sum;
  });
}

}  // namespace growmerge::merging
