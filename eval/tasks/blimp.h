// BLiMP (Warstadt et al. 2020, arXiv:1912.00582): a folder of one JSONL file per paradigm, 67 x
// 1000.
#pragma once

#include <filesystem>
#include <optional>

#include "eval/task.h"

namespace growmerge::eval {

/// Reads one paradigm per .jsonl file of `dir` (or of dir/data), in order of file name; the first
/// `limit` items of each; the others are counted. `s-selection` counts as argument_structure, as in
/// the paper. Errors: kNotFound, kCorrupt with file:line (of any row).
[[nodiscard]] Task load_blimp(const std::filesystem::path& dir, std::optional<std::int64_t> limit);

}  // namespace growmerge::eval
