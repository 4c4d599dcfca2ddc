// MultiBLiMP 1.0 (Jumelet et al. 2025, arXiv:2504.02768): one quoted TSV per language.
#pragma once

#include <filesystem>
#include <optional>

#include "eval/task.h"

namespace growmerge::eval {

/// Reads one language: DIR/data.tsv or the file itself. Or a folder of languages: a .tsv file each,
/// or a folder with data.tsv in it; then a language is a paradigm and the score the mean over them,
/// the first `limit` items of each. Items cluster by verb form (column `head`). `quoted`: whether
/// fields may stand in quotes, as they do in the published files. Errors: kNotFound, kCorrupt with
/// file:line (of any row).
[[nodiscard]] Task load_multiblimp(const std::filesystem::path& path,
                                   std::optional<std::int64_t> limit, bool quoted = true);

}  // namespace growmerge::eval
