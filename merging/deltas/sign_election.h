// What TIES and DARE-TIES share: sparse weighted differences of a block of elements, one sign
// elected for each element, what agrees with it averaged (Yadav et al. 2023, arXiv 2306.01708,
// Algorithm 1).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "merging/common_parameters.h"
#include "merging/tensor_task.h"

namespace growmerge::merging {

/// Where a method leaves model m's differences of a block: weighted, 0 where they do not survive,
/// and added to `elected`. `x` are the model's values, and may be changed.
struct Block {
  std::int64_t offset = 0;  // of its first element in the tensor
  std::int64_t count = 0;
  const float* base = nullptr;
  float* x = nullptr;
  float* delta = nullptr;
  float* elected = nullptr;
};

/// Adds to sum and divisor x and its weight where x has the elected sign: that of `elected`, 0
/// counting as +. Zero has no sign and never agrees.
void add_agreeing(const float* x, const float* elected, float weight, std::int64_t count,
                  float* sum, float* divisor);
/// sum = base + lambda sum / divisor; not divided where !normalize or the divisor is 0.
void finish_block(const float* base, const float* divisor, bool normalize, float lambda,
                  std::int64_t count, float* sum);

/// The whole merge, by the arguments weight, normalize and lambda. make_sparsifier(tile) returns,
/// for each tile, what is called with (model, Block) for the blocks of that tile in order.
template <class MakeSparsifier>
void merge_by_elected_sign(const TensorTask& task, const MakeSparsifier& make_sparsifier) {
  const std::size_t num_models = task.inputs.size();
  const std::vector<float> weights = task.of_models(kWeight);
  const bool normalize = task.arguments.flag(kNormalize);
  const auto lambda = static_cast<float>(task.arguments.number(kLambda));
  const std::size_t rows = 1 + ((num_models + 4) * kBlockElements + kTileElements - 1) /
                                   static_cast<std::size_t>(kTileElements);
  for_each_output_tile(task, [&](std::int64_t tile, std::int64_t offset, std::int64_t size) {
    float* result = tile_scratch(rows);
    float* base = result + kTileElements;
    float* x = base + kBlockElements;
    float* elected = x + kBlockElements;
    float* divisor = elected + kBlockElements;
    float* deltas = divisor + kBlockElements;
    auto sparsify = make_sparsifier(tile);
    for (std::int64_t begin = 0; begin < size; begin += kBlockElements) {
      const std::int64_t count = std::min(kBlockElements, size - begin);
      float* sum = result + begin;
      std::fill_n(elected, count, 0.0F);
      std::fill_n(divisor, count, 0.0F);
      std::fill_n(sum, count, 0.0F);
      task.base.load(offset + begin, count, base);
      for (std::size_t m = 0; m < num_models; ++m) {
        task.inputs[m].weights.load(offset + begin, count, x);
        sparsify(m, Block{.offset = offset + begin,
                          .count = count,
                          .base = base,
                          .x = x,
                          .delta = deltas + static_cast<std::int64_t>(m) * kBlockElements,
                          .elected = elected});
      }
      for (std::size_t m = 0; m < num_models; ++m) {
        add_agreeing(deltas + static_cast<std::int64_t>(m) * kBlockElements, elected, weights[m],
                     count, sum, divisor);
      }
      finish_block(base, divisor, normalize, lambda, count, sum);
    }
    return result;
  });
}

}  // namespace growmerge::merging
