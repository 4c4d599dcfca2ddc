// Minimal pairs of any files, by the names of their columns.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "eval/task.h"
#include "eval/task_config.h"

namespace growmerge::eval {

/// Reads pairs from JSONL or TSV files, one behind the other (ids get the file's stem in front when
/// there are several). `quoted`: whether fields of TSV may stand in quotes. Errors: kNotFound,
/// kCorrupt with file:line (of any row); kInvalidArgument.
[[nodiscard]] Task load_pairs(const std::vector<std::filesystem::path>& paths,
                              const PairColumns& columns, std::optional<std::int64_t> limit,
                              bool quoted = false);

}  // namespace growmerge::eval
