#include "merging/methods/dare_linear.h"

#include <vector>

#include "merging/deltas/delta_sum.h"
#include "merging/deltas/random_mask.h"

namespace growmerge::merging {

void dare_linear_merge(const TensorTask& task) {
  const std::vector<float> weights = task.of_models(kWeight);
  const std::vector<RandomMask> masks = random_masks(task);
  const std::vector<float> factors = task.arguments.flag(kRescale)
                                         ? rescale_factors(task, masks)
                                         : std::vector<float>(masks.size(), 1.0F);
  merge_by_sum(task, [&](std::int64_t) {
    return [&](std::size_t m, const Block& block) {
      keep_drawn(masks[m], block.offset, block.count, block.x, block.base, block.delta);
      rescale_and_add(factors[m], weights[m], block.count, block.delta, block.elected);
    };
  });
}

}  // namespace growmerge::merging
