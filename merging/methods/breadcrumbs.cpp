#include "merging/methods/breadcrumbs.h"

#include "merging/deltas/delta_sum.h"
#include "merging/deltas/outlier_cut.h"

namespace growmerge::merging {

void breadcrumbs_merge(const TensorTask& task) { merge_by_sum(task, outlier_sparsifier(task)); }

}  // namespace growmerge::merging
