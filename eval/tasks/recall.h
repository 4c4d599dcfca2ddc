// Recall of facts: which object completes a sentence about a subject.
//
// Files in mParaRel's layout (Fierro & Søgaard 2022, arXiv:2203.11552; Jiang et al. 2020 rank typed
// candidates likewise), a folder of one language:
//   patterns/RELATION.jsonl  {"pattern": "the capital of [X] is [Y]"} a line
//   tuples/RELATION.jsonl    {"sub_label": "Iceland", "obj_label": "Reykjavik"} a line
// An item is a fact in one sentence. Its choices are all objects of the relation, as the choice of
// an object within its type; or the true object and a false one, as a minimal pair. The text in
// front of [Y] is the context, computed once for all of them; object and what stands behind it are
// scored, since in many languages the object does not end the sentence. Objects that are true of
// the same subject as well are left out of its choices.
#pragma once

#include "eval/task.h"
#include "eval/task_config.h"

namespace growmerge::eval {

/// The mean is over relations. Errors: kNotFound, kCorrupt with file:line (a pattern without [X]
/// and [Y], a label that is not there, a relation with no false object for any subject).
[[nodiscard]] Task load_facts(const TaskConfig& config, const TextLoader& loader);
/// Errors: kInvalidArgument naming the setting.
void check_facts(const TaskConfig& config);

}  // namespace growmerge::eval
