#include "merging/methods/breadcrumbs_ties.h"

#include <vector>

#include "merging/deltas/outlier_cut.h"
#include "merging/deltas/sign_election.h"

namespace growmerge::merging {

void breadcrumbs_ties_merge(const TensorTask& task) {
  const std::vector<float> weights = task.of_models(kWeight);
  const OutlierCuts cuts = outlier_cuts(task);
  merge_by_elected_sign(task, [&](std::int64_t tile) {
    std::vector<OutlierCut> tile_cuts;
    for (std::size_t m = 0; m < weights.size(); ++m) {
      tile_cuts.emplace_back(cuts, m, tile);
    }
    return [&weights, tile_cuts](std::size_t m, const Block& block) mutable {
      tile_cuts[m].cut_and_add(block.x, block.base, weights[m], block.count, block.delta,
                               block.elected);
    };
  });
}

}  // namespace growmerge::merging
