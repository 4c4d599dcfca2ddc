#include "core/base/json_text.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {

void check_json_depth(std::string_view text, const std::filesystem::path& file,
                      std::uint64_t line) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;  // whatever is escaped does not end the string
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepestJson) {
        const auto before = text.substr(0, i);
        fail(ErrorCode::kCorrupt, file.string(), ":",
             line + static_cast<std::uint64_t>(std::count(before.begin(), before.end(), '\n')),
             ": JSON lists or objects are nested more than ", kDeepestJson,
             " deep: no file that is meant to be read here is");
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

std::string read_json_text(const std::filesystem::path& file) {
  std::string text = read_file(file);
  check_json_depth(text, file);
  return text;
}

std::string json_lines_advice(const std::filesystem::path& file, const std::string& unpack) {
  const std::string lines = std::filesystem::path(file).replace_extension(".lines.jsonl").string();
  const std::string front = unpack.empty() ? "" : unpack + " | ";
  const std::string source = unpack.empty() ? " '" + file.string() + "'" : "";
  return concat("one JSON object a line is read; a list becomes lines by: ", front, "jq -c '.[]'",
                source, " > '", lines, "', and objects one after another by jq -c '.' instead");
}

}  // namespace growmerge
