// Differences thinned out at random, as DARE does (Yu et al. 2023, arXiv 2311.03099): each entry
// survives with the probability `density` (to 2^-16), independently.
//
// Random bits are Philox's, a function of seed, position of the model in the recipe, tensor name
// and element: a second pass draws the same again, which is cheaper than keeping them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "merging/common_parameters.h"
#include "merging/deltas/sign_election.h"
#include "merging/tensor_task.h"

namespace growmerge::merging {

struct RandomMask {
  static constexpr std::uint32_t kAlways = 1U << 16;
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  std::uint32_t threshold = kAlways;  // an element is kept where its 16 bits are below
};
/// Of each model, by its `density`.
[[nodiscard]] std::vector<RandomMask> random_masks(const TensorTask& task);

/// delta = x - base where the mask keeps it, else 0, for a block (`offset` is its first element, a
/// multiple of kBlockElements).
void keep_drawn(const RandomMask& mask, std::int64_t offset, std::int64_t count, const float* x,
                const float* base, float* delta);

/// What restores each model's sum of magnitudes after masking: sums in float64, one a tile, added
/// in order; 1 where either sum is below 1e-7. One pass over the inputs.
[[nodiscard]] std::vector<float> rescale_factors(const TensorTask& task,
                                                 const std::vector<RandomMask>& masks);

/// delta *= factor weight; sum += delta.
void rescale_and_add(float factor, float weight, std::int64_t count, float* delta, float* sum);

/// What merge_by_sum() and merge_by_elected_sign() are given to add what survives, rescaled where
/// the argument `rescale` says so, and weighted.
[[nodiscard]] inline auto random_sparsifier(const TensorTask& task) {
  std::vector<RandomMask> masks = random_masks(task);
  std::vector<float> factors = task.arguments.flag(kRescale)
                                   ? rescale_factors(task, masks)
                                   : std::vector<float>(masks.size(), 1.0F);
  return [masks = std::move(masks), factors = std::move(factors),
          weights = task.of_models(kWeight)](std::int64_t) {
    return [&](std::size_t m, const Block& block) {
      keep_drawn(masks[m], block.offset, block.count, block.x, block.base, block.delta);
      rescale_and_add(factors[m], weights[m], block.count, block.delta, block.elected);
    };
  };
}

}  // namespace growmerge::merging
