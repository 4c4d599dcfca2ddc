#include "merging/methods/dare_ties.h"

#include "merging/deltas/random_mask.h"
#include "merging/deltas/sign_election.h"

namespace growmerge::merging {

void dare_ties_merge(const TensorTask& task) {
  merge_by_elected_sign(task, random_sparsifier(task));
}

}  // namespace growmerge::merging
