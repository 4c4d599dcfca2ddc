#include "merging/methods/della.h"

#include "merging/deltas/rank_mask.h"
#include "merging/deltas/sign_election.h"

namespace growmerge::merging {

void della_merge(const TensorTask& task) { merge_by_elected_sign(task, rank_sparsifier(task)); }

}  // namespace growmerge::merging
