// What is asked of JSON text before it is parsed, and said of text that is not what is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace growmerge {

/// Levels of lists and objects in each other that are read; real files have fewer than ten. What
/// walks a parsed value calls itself once a level, and a stack ends after some ten thousand.
inline constexpr int kDeepestJson = 500;

/// Errors: kCorrupt naming `file` and the line where the text is nested deeper; its first line is
/// `line` of the file. Text that is no JSON is left to the parser.
void check_json_depth(std::string_view text, const std::filesystem::path& file,
                      std::uint64_t line = 1);

/// A file's text. Errors: those of read_file() and check_json_depth().
[[nodiscard]] std::string read_json_text(const std::filesystem::path& file);

/// How a list, or objects over several lines, become one object a line: a command. `unpack` writes
/// the file's text, where the file does not hold it as it is ("zstd -dc 'a.json.zst'").
[[nodiscard]] std::string json_lines_advice(const std::filesystem::path& file,
                                            const std::string& unpack = "");

}  // namespace growmerge
