#include "merging/methods/della_linear.h"

#include <vector>

#include "merging/deltas/delta_sum.h"
#include "merging/deltas/random_mask.h"
#include "merging/deltas/rank_mask.h"

namespace growmerge::merging {

void della_linear_merge(const TensorTask& task) {
  const std::vector<float> weights = task.of_models(kWeight);
  const RankMasks masks(task);
  const bool rescale = task.arguments.flag(kRescale);
  merge_by_sum(task, [&](std::int64_t) {
    return [&](std::size_t m, const Block& block) {
      masks.keep(m, block.offset, block.count, block.x, block.base, block.delta);
      rescale_and_add(rescale ? masks.factor(m) : 1.0F, weights[m], block.count, block.delta,
                      block.elected);
    };
  });
}

}  // namespace growmerge::merging
