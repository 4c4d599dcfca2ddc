// Differences without their largest and their smallest entries: what Model Breadcrumbs keeps.
#pragma once

#include <cstdint>
#include <vector>

#include "merging/common_parameters.h"
#include "merging/deltas/magnitude_select.h"
#include "merging/deltas/sign_election.h"
#include "merging/tensor_task.h"

namespace growmerge::merging {

/// Of n entries, int(density n) survive: those behind the int(gamma n) with the largest magnitude
/// (fewer where not as many are left), in the order of magnitude, of equal ones by index. All where
/// density is 1.
struct OutlierCuts {
  std::vector<MagnitudeCut> kept;     // of each model: what is not dropped at the lower end
  std::vector<MagnitudeCut> dropped;  // and of that, what is dropped at the upper
};
[[nodiscard]] OutlierCuts outlier_cuts(const TensorTask& task);

/// Of one tile of one model; entries must be asked for in order.
class OutlierCut {
 public:
  OutlierCut(const OutlierCuts& cuts, std::size_t model, std::int64_t tile)
      : kept_(cut_of_tile(cuts.kept[model], tile)),
        dropped_(cut_of_tile(cuts.dropped[model], tile)) {}
  /// delta = weight (x - base) where that survives, else 0; sum += delta.
  void cut_and_add(const float* x, const float* base, float weight, std::int64_t count,
                   float* delta, float* sum);

 private:
  TileCut kept_, dropped_;
};

/// What merge_by_sum() and merge_by_elected_sign() are given to add what survives, weighted.
[[nodiscard]] inline auto outlier_sparsifier(const TensorTask& task) {
  return [cuts = outlier_cuts(task), weights = task.of_models(kWeight)](std::int64_t tile) {
    std::vector<OutlierCut> tile_cuts;
    for (std::size_t m = 0; m < weights.size(); ++m) {
      tile_cuts.emplace_back(cuts, m, tile);
    }
    return [&weights, tile_cuts](std::size_t m, const Block& block) mutable {
      tile_cuts[m].cut_and_add(block.x, block.base, weights[m], block.count, block.delta,
                               block.elected);
    };
  };
}

}  // namespace growmerge::merging
