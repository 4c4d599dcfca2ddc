// Whether this machine has what a stage needs, asked before hours of work instead of at their end.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace growmerge::launch {

/// Bytes of memory that may still be taken here without swapping out others (Linux's estimate) and
/// of free swap, or nothing where that is unknown.
[[nodiscard]] std::optional<double> available_memory();

/// Bytes free on the file system of `dir`; nothing where it is not there or does not tell.
[[nodiscard]] std::optional<double> free_disk(const std::filesystem::path& dir);

/// Errors: kIo when the file system of `dir` has fewer bytes free than `bytes`, counting what lies
/// in `dir` already (of an earlier start) as free; `what` names their use. Says nothing where a
/// file system does not tell.
void require_disk(const std::filesystem::path& dir, double bytes, const std::string& what);

/// Errors: kInvalidArgument when `what` needs more than available_memory().
void require_memory(double bytes, const std::string& what);

}  // namespace growmerge::launch
