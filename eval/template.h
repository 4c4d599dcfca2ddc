// Texts with columns of a row in them: "Q: {{question|strip}}\nA:".
//
// Between {{ and }} stand the name of a column and filters, in order, each behind a |:
//   strip        white space at both ends is taken off
//   drop_last    the last character is taken off
//   lower_first  the first character in lower case
//   capitalize   the first character in upper case, all others in lower case
//   A=B          a text that is A becomes B
// Characters are code points. They do what Python's strip(), [:-1], lower() and capitalize() do;
// of letters, Latin, Greek, Cyrillic and Armenian ones have a case here, one letter for one (no
// final sigma).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace growmerge::eval {

class Template {
 public:
  Template() = default;
  /// Errors: kInvalidArgument naming the template and the part: no }}, no column, unknown filter.
  explicit Template(const std::string& text);

  /// Columns that it names, in order.
  [[nodiscard]] std::vector<std::string> columns() const;
  [[nodiscard]] std::string render(
      const std::function<const std::string&(const std::string& column)>& value_of) const;

 private:
  struct Part {
    std::string text;    // in front of the column
    std::string column;  // empty in the last part
    std::vector<std::string> filters{};
  };
  std::vector<Part> parts_;
};

/// One filter on valid UTF-8. Errors: kInvalidArgument naming the filters there are.
[[nodiscard]] std::string apply_filter(const std::string& filter, const std::string& text);

/// What lm-evaluation-harness does to HellaSwag's texts, which come from WikiHow: white space at
/// both ends off, " [title]" to ". ", anything in brackets out, double spaces to single ones.
[[nodiscard]] std::string clean_wikihow(const std::string& text);

}  // namespace growmerge::eval
