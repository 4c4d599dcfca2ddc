// Multiple choice: any JSONL or TSV file whose rows hold a question and its answers.
//
// A row becomes an item by templates (eval/template.h): a context, choices that may follow it
// behind the delimiter of the rules, and the index of the right one. Layouts that come with their
// templates:
//   belebele   passage, question and four answers; the choices are the letters A to D (Bandarkar et
//              al. 2024, arXiv:2308.16884)
//   xcopa      a premise and a connector, two sentences; the connector is of the task's language
//              (Ponti et al. 2020, arXiv:2005.00333)
//   hellaswag  an activity and a beginning, four endings, cleaned of WikiHow's marks (Zellers et
//   al.
//              2019, arXiv:1905.07830)
// Each gives what lm-evaluation-harness's task of that name asks. Few-shot: k answered rows in
// front of every context, each behind the other with `shots_delimiter`; a row never is its own
// example.
#pragma once

#include "eval/task.h"
#include "eval/task_config.h"

namespace growmerge::eval {

/// Reads the items. Errors: kNotFound, kCorrupt with file:line (of any row: a column that is not
/// there, a right answer that is no index, fewer than two choices, an empty one); kInvalidArgument
/// (unknown layout, too few rows for the shots).
[[nodiscard]] Task load_choices(const TaskConfig& config, const TextLoader& loader);
/// Errors: kInvalidArgument naming the setting.
void check_choices(const TaskConfig& config);

}  // namespace growmerge::eval
