#include "merging/methods/dare_linear.h"

#include "merging/deltas/delta_sum.h"
#include "merging/deltas/random_mask.h"

namespace growmerge::merging {

void dare_linear_merge(const TensorTask& task) { merge_by_sum(task, random_sparsifier(task)); }

}  // namespace growmerge::merging
