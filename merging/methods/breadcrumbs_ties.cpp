#include "merging/methods/breadcrumbs_ties.h"

#include "merging/deltas/outlier_cut.h"
#include "merging/deltas/sign_election.h"

namespace growmerge::merging {

void breadcrumbs_ties_merge(const TensorTask& task) {
  merge_by_elected_sign(task, outlier_sparsifier(task));
}

}  // namespace growmerge::merging
