// Which files hold text: kinds by name, patterns and directories.
//
// Kinds: .jsonl or .ndjson (one JSON object a line) and .txt, each also with .gz, .zst, .xz or .bz2
// behind. Patterns (*, ?, [..]) and directories (searched to any depth for these kinds, hidden
// files left out) expand in byte order of the paths.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace growmerge::data {

enum class TextKind { kUnknown, kText, kJsonLines };

[[nodiscard]] TextKind text_kind_of(std::filesystem::path path);

/// Files that a path, pattern or directory names, in reading order. Errors: kNotFound when there is
/// none; kUnsupported naming a file whose kind is not known, with the command that converts it
/// where there is one.
[[nodiscard]] std::vector<std::filesystem::path> expand_input(const std::string& path);

/// How a JSON file that is not one object a line becomes lines, for an error: a command.
[[nodiscard]] std::string lines_advice(const std::filesystem::path& file);

}  // namespace growmerge::data
