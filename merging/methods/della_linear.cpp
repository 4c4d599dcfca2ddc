#include "merging/methods/della_linear.h"

#include "merging/deltas/delta_sum.h"
#include "merging/deltas/rank_mask.h"

namespace growmerge::merging {

void della_linear_merge(const TensorTask& task) { merge_by_sum(task, rank_sparsifier(task)); }

}  // namespace growmerge::merging
