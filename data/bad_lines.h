// What to do with documents that cannot be read: lines that are no JSON, lack their text or are not
// UTF-8, and whole files of text that are not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace growmerge::data {

struct BadLinesConfig {
  std::string policy = "stop";
  std::string limit = "1%";

  template <class V>
  void describe(V& v) {
    v.added("policy", policy, "stop", "",
            "stop at the first document that cannot be read, naming file and line; or skip them, "
            "counted and listed");
    v.added("limit", limit, "1%", "",
            "of skip: the most documents of a language that may be skipped, a share of all (1%) or "
            "a number");
  }
  /// Errors: kInvalidArgument naming the setting.
  void validate() const;
  [[nodiscard]] bool skips() const { return policy == "skip"; }
  /// The most that may be skipped of so many documents.
  [[nodiscard]] std::uint64_t most_of(std::uint64_t documents) const;
};

/// A document that was skipped.
struct BadLine {
  std::string file;
  std::uint64_t line = 0;  // 0: the whole file
  std::string reason;
};

/// One JSON object a line: {"file": ..., "line": ..., "reason": ...}.
[[nodiscard]] std::string to_json_lines(const std::vector<BadLine>& lines);
/// "3 of 10 documents cannot be read: REASON; REASON; ...", with the first few of `lines`.
[[nodiscard]] std::string describe_bad_lines(std::uint64_t bad, std::uint64_t documents,
                                             const std::vector<BadLine>& lines);

}  // namespace growmerge::data
