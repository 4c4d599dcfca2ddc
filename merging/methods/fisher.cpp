#include "merging/methods/fisher.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.h"
#include "core/base/simd.h"

namespace growmerge::merging {
namespace {

// Where no model knows anything of an entry the result is their plain average.
constexpr float kFisherFloor = 1e-6F;

/// sum += w F theta, divisor += w F, with F = max(fisher scale, floor).
GM_SIMD void add_precise(const float* theta, const float* fisher, float scale, float weight,
                         std::int64_t count, float* sum, float* divisor) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float normalized = fisher[i] * scale;
    const float precision = weight * (normalized > kFisherFloor ? normalized : kFisherFloor);
    sum[i] += precision * theta[i];
    divisor[i] += precision;
  }
}

/// sum /= divisor; false where some divisor is 0.
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

double inverse_fisher_norm(const TensorWalk& for_each_tensor) {
  double total = 0.0;
  for_each_tensor([&total](const TensorTask& task) {
    const TileSource& fisher = task.inputs.front().fisher;
    // One partial sum a tile, added in order: the same for any number of threads.
    std::vector<double> partial(static_cast<std::size_t>(num_tiles(task.num_elements)));
    for_each_tile(task.num_elements,
                  [&](std::int64_t tile, std::int64_t offset, std::int64_t count) {
                    float* values = tile_scratch(1);
                    fisher.load(offset, count, values);
                    double sum = 0.0;
                    for (std::int64_t i = 0; i < count; ++i) {
                      sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
                    }
                    partial[static_cast<std::size_t>(tile)] = sum;
                  });
    for (const double sum : partial) {
      total += sum;
    }
  });
  return total > 0.0 ? 1.0 / std::sqrt(total) : 0.0;
}

void fisher_merge(const TensorTask& task) {
  const std::vector<float> weights = task.of_models(kFisherWeight);
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* sum = tile_scratch(4);
    float* divisor = sum + kTileElements;
    float* theta = divisor + kTileElements;
    float* fisher = theta + kTileElements;
    std::fill_n(sum, 2 * kTileElements, 0.0F);
    for (std::size_t m = 0; m < weights.size(); ++m) {
      const TensorTask::Input& input = task.inputs[m];
      input.weights.load(offset, count, theta);
      input.fisher.load(offset, count, fisher);
      GM_CHECK(!any_negative(fisher, count), kCorrupt, input.fisher.label,
               " is negative somewhere: a mean of squares cannot be");
      add_precise(theta, fisher, static_cast<float>(input.model_value), weights[m], count, sum,
                  divisor);
    }
    GM_CHECK(divide_each(divisor, count, sum), kInvalidArgument, "merging tensor '", task.name,
             "': the weights times Fisher sum to 0: change a weight");
    return sum;
  });
}

}  // namespace growmerge::merging
