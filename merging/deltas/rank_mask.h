// Differences thinned out at random by their rank: DELLA's MagPrune (Deep et al. 2024, arXiv
// 2406.11617). In each row the entry of rank r by magnitude, of d, survives with a probability
// that rises from density - epsilon (the smallest) to density + epsilon.
#pragma once

#include <cstdint>
#include <vector>

#include "merging/common_parameters.h"
#include "merging/deltas/random_mask.h"
#include "merging/deltas/sign_election.h"
#include "merging/tensor_task.h"

namespace growmerge::merging {

/// A bit for each element of each model, in rows of whole words; and what restores each model's sum
/// of magnitudes (1 where that is below 1e-7). Equal magnitudes rank by index; a row of one element
/// survives with probability `density`. Random bits are Philox's, a function of seed, position of
/// the model, tensor name, row and place. One pass over the inputs; n / 8 bytes a model.
class RankMasks {
 public:
  /// By the models' density and epsilon. Errors: kInvalidArgument where density +- epsilon is not
  /// inside (0, 1) (and density is neither 0 nor 1).
  explicit RankMasks(const TensorTask& task);
  [[nodiscard]] float factor(std::size_t model) const { return factors_[model]; }
  /// delta = x - base where the mask keeps it, else 0, for elements [offset, offset + count).
  void keep(std::size_t model, std::int64_t offset, std::int64_t count, const float* x,
            const float* base, float* delta) const;

 private:
  void make_row(const TensorTask& task, std::size_t model, std::int64_t row, double* sums);

  std::int64_t length_ = 0;        // of a row
  std::int64_t words_ = 0;         // of a row
  std::vector<double> densities_;  // by model: 0 and 1 need no mask
  std::vector<double> epsilons_;
  std::vector<std::uint64_t> streams_;
  std::vector<std::vector<std::uint64_t>> bits_;
  std::vector<float> factors_;
};

/// What merge_by_sum() and merge_by_elected_sign() are given to add what survives, rescaled where
/// the argument `rescale` says so, and weighted.
[[nodiscard]] inline auto rank_sparsifier(const TensorTask& task) {
  return [masks = RankMasks(task), rescale = task.arguments.flag(kRescale),
          weights = task.of_models(kWeight)](std::int64_t) {
    return [&](std::size_t m, const Block& block) {
      masks.keep(m, block.offset, block.count, block.x, block.base, block.delta);
      rescale_and_add(rescale ? masks.factor(m) : 1.0F, weights[m], block.count, block.delta,
                      block.elected);
    };
  };
}

}  // namespace growmerge::merging
