// Rows of text fields from JSONL or TSV files, with the line that each row starts at.
//
// TSV: first row names the columns; a field may be quoted with ", where "" stands for one " and
// tabs and newlines are text (as Python's csv module and pandas read it). JSONL: one object a line;
// numbers and booleans are taken as their JSON text, null as an absent field.
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

/// Calls `row` for each row. The format follows from the extension:
/// .tsv, or .jsonl / .json. Errors: kNotFound; kInvalidArgument (unknown extension); kCorrupt with
/// file:line for broken rows, fields that are not UTF-8 and a missing or empty required column,
/// naming the columns that are there.
void read_table(const std::filesystem::path& path, std::span<const WantedColumn> columns,
                const std::function<void(const TableRow&)>& row);

}  // namespace growmerge::eval
