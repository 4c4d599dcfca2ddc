// Rows of text fields from JSONL or TSV files, with the line that each row starts at.
//
// TSV: the first row names the columns, and a line is a row: a quote is a character like any other
// (Python's csv.QUOTE_NONE). Only where asked for may a field stand in double quotes, where "" is
// one " and tabs and newlines are text, as csv.QUOTE_MINIMAL and pandas write it; what follows a
// closing quote must be a tab or the end of the line, so that a stray quote is an error and
// swallows nothing. JSONL: one object a line; numbers and booleans are taken as their JSON text,
// null as an absent field. A UTF-8 byte order mark is dropped; lines may end in CR LF; blank lines
// are no rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace growmerge::eval {

/// The wanted fields of one row, in the order asked for; absent ones are empty.
struct TableRow {
  std::int64_t line = 0;  // 1-based
  std::vector<std::string> fields;
};

struct WantedColumn {
  std::string name;  // empty: never there
  bool required = false;
  bool may_be_empty = false;  // a required one that is there without text
};

/// What was read, to be held against what the files are known to hold.
struct TableCounts {
  std::int64_t files = 0;
  std::int64_t lines = 0;           // the header's and blank ones, too
  std::int64_t rows = 0;            // behind the header
  std::int64_t rows_of_quotes = 0;  // of unquoted TSV, with a field that reads as if it were quoted

  void add(const TableCounts& other);
  /// "2 files, 7 lines, 5 rows".
  [[nodiscard]] std::string text() const;
};

/// Calls `row` for each row. The format follows from the extension: .tsv, with quoted fields or
/// without, or .jsonl / .json (which holds one object a line, too). Errors: kNotFound;
/// kInvalidArgument (unknown extension); kCorrupt with file:line for broken rows, JSON over several
/// lines (with the command that mends it), fields that are not UTF-8 and a missing or empty
/// required column, naming the columns that are there.
TableCounts read_table(const std::filesystem::path& path, std::span<const WantedColumn> columns,
                       const std::function<void(const TableRow&)>& row, bool quoted = false);

}  // namespace growmerge::eval
