#include "launch/report/table.h"

#include <algorithm>
#include <cstdio>

namespace growmerge::launch {
namespace {

/// Code points, which is what a terminal's columns are for the letters used here.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::vector<std::size_t> column_widths(const Table& table) {
  std::vector<std::size_t> out;
  for (const std::string& column : table.columns) {
    out.push_back(width_of(column));
  }
  for (const auto& row : table.rows) {
    for (std::size_t i = 0; i < row.size() && i < out.size(); ++i) {
      out[i] = std::max(out[i], width_of(row[i]));
    }
  }
  return out;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string blank(width - std::min(width, width_of(text)), ' ');
  return right ? blank + text : text + blank;
}

}  // namespace

std::string markdown_escape(const std::string& text) {
  std::string out;
  for (const char c : html_escape(text)) {
    // A line break would end the cell or the heading.
    if (c == '\n' || c == '\r') {
      out += ' ';
      continue;
    }
    if (std::string("\\`*[]|").find(c) != std::string::npos) {
      out += '\\';
    }
    out += c;
  }
  return out;
}

std::string table_text(const Table& table) {
  const std::vector<std::size_t> widths = column_widths(table);
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string out = "  ";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      out +=
          padded(cells[i], widths[i], i >= table.first_number) + (i + 1 < cells.size() ? "  " : "");
    }
    // Blanks at the end would show in diffs and copies.
    out.erase(out.find_last_not_of(' ') + 1);
    return out + "\n";
  };
  std::string out = table.title + "\n" + line(table.columns);
  std::vector<std::string> rule;
  for (const std::size_t width : widths) {
    rule.emplace_back(width, '-');
  }
  out += line(rule);
  for (const auto& row : table.rows) {
    out += line(row);
  }
  return out;
}

std::string table_markdown(const Table& table) {
  std::string out = "## " + markdown_escape(table.title) + "\n\n";
  if (!table.note.empty()) {
    out += table.note + "\n\n";
  }
  std::string rule = "|";
  out += "|";
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    out += " " + markdown_escape(table.columns[i]) + " |";
    rule += i >= table.first_number ? "---:|" : "---|";
  }
  out += "\n" + rule + "\n";
  for (const auto& row : table.rows) {
    out += "|";
    for (const std::string& cell : row) {
      out += " " + markdown_escape(cell) + " |";
    }
    out += "\n";
  }
  return out;
}

std::string html_escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string table_html(const Table& table) {
  std::string out = "<h2>" + html_escape(table.title) + "</h2>\n";
  if (!table.note.empty()) {
    out += "<p>" + html_escape(table.note) + "</p>\n";
  }
  // A wide table scrolls by itself instead of widening the page.
  out += "<div class=\"scroll\"><table><thead><tr>";
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    out += std::string("<th") + (i >= table.first_number ? " class=\"n\"" : "") + ">" +
           html_escape(table.columns[i]) + "</th>";
  }
  out += "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += std::string("<td") + (i >= table.first_number ? " class=\"n\"" : "") + ">" +
             html_escape(row[i]) + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

}  // namespace growmerge::launch
