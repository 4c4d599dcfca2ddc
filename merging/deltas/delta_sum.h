// What methods share that add sparse weighted differences to the base and elect no sign.
#pragma once

#include <algorithm>
#include <cmath>

#include "merging/common_parameters.h"
#include "merging/deltas/sign_election.h"
#include "merging/methods/weight_sum.h"

namespace growmerge::merging {

/// base + lambda sum / divisor, the divisor being the sum of the weights where normalize (not where
/// those cancel: mergekit's guard). make_sparsifier as merge_by_elected_sign() takes it: a block's
/// differences are what it adds to `elected`.
template <class MakeSparsifier>
void merge_by_sum(const TensorTask& task, const MakeSparsifier& make_sparsifier) {
  const auto lambda = static_cast<float>(task.arguments.number(kLambda));
  float divisor = weight_sum(task.of_models(kWeight));
  if (!task.arguments.flag(kNormalize) || std::abs(divisor) < 1e-8F) {
    divisor = 1.0F;
  }
  for_each_output_tile(task, [&](std::int64_t tile, std::int64_t offset, std::int64_t size) {
    float* result = tile_scratch(2);
    float* base = result + kTileElements;
    float* x = base + kBlockElements;
    float* delta = x + kBlockElements;
    auto sparsify = make_sparsifier(tile);
    for (std::int64_t begin = 0; begin < size; begin += kBlockElements) {
      const std::int64_t count = std::min(kBlockElements, size - begin);
      float* sum = result + begin;
      std::fill_n(sum, count, 0.0F);
      task.base.load(offset + begin, count, base);
      for (std::size_t m = 0; m < task.inputs.size(); ++m) {
        task.inputs[m].weights.load(offset + begin, count, x);
        sparsify(m, Block{.offset = offset + begin,
                          .count = count,
                          .base = base,
                          .x = x,
                          .delta = delta,
                          .elected = sum});
      }
      for (std::int64_t i = 0; i < count; ++i) {
        sum[i] = base[i] + lambda * (divisor == 1.0F ? sum[i] : sum[i] / divisor);
      }
    }
    return result;
  });
}

}  // namespace growmerge::merging
