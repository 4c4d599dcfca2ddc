// A table of words, as plain text, Markdown and HTML.
#pragma once

#include <string>
#include <vector>

namespace growmerge::launch {

struct Table {
  std::string title;
  std::string note;  // one paragraph below the title; may be empty
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  /// Columns from this one on are numbers and stand right-aligned.
  std::size_t first_number = 1;
};

[[nodiscard]] std::string table_text(const Table& table);
[[nodiscard]] std::string table_markdown(const Table& table);
[[nodiscard]] std::string table_html(const Table& table);
/// &, <, > and quotes as entities.
[[nodiscard]] std::string html_escape(const std::string& text);
/// For Markdown's text, headings and cells: neither markup nor HTML can be made of it.
[[nodiscard]] std::string markdown_escape(const std::string& text);

}  // namespace growmerge::launch
