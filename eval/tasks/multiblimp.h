// MultiBLiMP 1.0 (Jumelet et al. 2025, arXiv:2504.02768): one quoted TSV per language.
#pragma once

#include <filesystem>
#include <optional>

#include "eval/task.h"

namespace growmerge::eval {

/// Reads a MultiBLiMP language: DIR/data.tsv or the file itself. Items cluster by verb form (column
/// `head`). Errors: kNotFound, kCorrupt with file:line (of any row).
[[nodiscard]] Task load_multiblimp(const std::filesystem::path& path,
                                   std::optional<std::int64_t> limit);

}  // namespace growmerge::eval
