#include "eval/table_reader.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "core/base/json_text.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::eval {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

using RowFn = std::function<void(const TableRow&)>;

class TsvReader {
 public:
  TsvReader(const std::filesystem::path& path, std::istream& in, bool quoted)
      : path_(path), in_(in), quoted_(quoted) {}

  std::int64_t row_line() const { return row_line_; }
  std::int64_t lines() const { return line_; }

  /// The next row's fields, or false at the end of the file.
  bool next(std::vector<std::string>& fields) {
    fields.clear();
    row_line_ = line_ + 1;
    std::string text;
    if (!read_line(text)) {
      return false;
    }
    std::size_t at = 0;
    for (;;) {
      fields.push_back(quoted_ && at < text.size() && text[at] == '"' ? quoted_field(text, at)
                                                                      : plain_field(text, at));
      if (at == text.size()) {
        return true;
      }
      ++at;  // the tab
    }
  }

 private:
  static std::string plain_field(const std::string& text, std::size_t& at) {
    const std::size_t begin = at;
    at = std::min(text.find('\t', begin), text.size());
    return text.substr(begin, at - begin);
  }

  /// From the opening quote on; newlines inside are text, so `text` may become a later line.
  std::string quoted_field(std::string& text, std::size_t& at) {
    const std::int64_t begin = line_;
    std::string field;
    for (++at;; ++at) {
      if (at >= text.size()) {
        field += '\n';
        GM_CHECK(read_line(text), kCorrupt, path_.string(), ":", begin,
                 ": a quoted field that begins in this line never ends", kAdvice);
        at = static_cast<std::size_t>(-1);  // the loop goes to the first character
      } else if (text[at] != '"') {
        field += text[at];
      } else if (at + 1 < text.size() && text[at + 1] == '"') {
        field += text[++at];
      } else {
        ++at;
        GM_CHECK(at == text.size() || text[at] == '\t', kCorrupt, path_.string(), ":", begin,
                 ": a quoted field that begins in this line has text behind its closing quote",
                 begin == line_ ? "" : concat(" in line ", line_), kAdvice);
        return field;
      }
    }
  }

  bool read_line(std::string& text) {
    if (!std::getline(in_, text)) {
      return false;
    }
    if (++line_ == 1 && text.starts_with(kByteOrderMark)) {
      text.erase(0, kByteOrderMark.size());
    }
    // Files from Windows.
    if (!text.empty() && text.back() == '\r') {
      text.pop_back();
    }
    return true;
  }

  static constexpr const char* kAdvice =
      ": if quotes are text in this file, set `quoted: false` for the task";
  const std::filesystem::path& path_;
  std::istream& in_;
  bool quoted_;
  std::int64_t line_ = 0;
  std::int64_t row_line_ = 0;
};

/// In quotes, with doubled ones inside: no text is written so, but quoted fields are.
bool reads_as_quoted(const std::string& field) {
  return field.size() > 2 && field.front() == '"' && field.back() == '"' &&
         field.find("\"\"", 1) < field.size() - 2;
}

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) {
    all += (all.empty() ? "" : ", ") + name;
  }
  return all;
}

/// What is read must be there, and must be text that results can be written with.
void check_fields(const std::filesystem::path& path, const TableRow& row,
                  std::span<const WantedColumn> columns) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    GM_CHECK(!columns[i].required || columns[i].may_be_empty || !row.fields[i].empty(), kCorrupt,
             path.string(), ":", row.line, ": column '", columns[i].name, "' is empty");
    if (const auto offset = tok::find_invalid_utf8(row.fields[i])) {
      fail(ErrorCode::kCorrupt, path.string(), ":", row.line, ": column '", columns[i].name,
           "' is not UTF-8 (its byte ", *offset,
           " is invalid); convert the file, as with iconv -t ", "UTF-8");
    }
  }
}

TableCounts read_tsv(const std::filesystem::path& path, std::istream& in, bool quoted,
                     std::span<const WantedColumn> columns, const RowFn& row_fn) {
  TsvReader reader(path, in, quoted);
  TableCounts counts;
  std::vector<std::string> header;
  GM_CHECK(reader.next(header), kCorrupt, path.string(), ":1: the file is empty");
  // Where each wanted column stands in this file; absent optional ones stand nowhere.
  std::vector<std::optional<std::size_t>> places;
  for (const WantedColumn& column : columns) {
    std::optional<std::size_t> place;
    for (std::size_t i = 0; i < header.size() && !column.name.empty(); ++i) {
      if (header[i] == column.name) {
        place = i;
        break;
      }
    }
    GM_CHECK(place || !column.required, kCorrupt, path.string(), ":1: no column '", column.name,
             "' (there are: ", joined(header), ")");
    places.push_back(place);
  }
  std::vector<std::string> fields;
  while (reader.next(fields)) {
    if (fields.size() == 1 && fields[0].empty()) {
      continue;  // an empty line
    }
    GM_CHECK(fields.size() == header.size(), kCorrupt, path.string(), ":", reader.row_line(), ": ",
             fields.size(), " fields, expected ", header.size(), " as in the first line");
    TableRow row{reader.row_line(), {}};
    for (const auto& place : places) {
      row.fields.push_back(place ? fields[*place] : std::string());
    }
    check_fields(path, row, columns);
    row_fn(row);
    ++counts.rows;
    counts.rows_of_quotes +=
        !quoted && std::any_of(row.fields.begin(), row.fields.end(), reads_as_quoted) ? 1 : 0;
  }
  counts.lines = reader.lines();
  return counts;
}

TableCounts read_jsonl(const std::filesystem::path& path, std::istream& in,
                       std::span<const WantedColumn> columns, const RowFn& row_fn) {
  TableCounts counts;
  std::string text;
  for (std::int64_t line = 1; std::getline(in, text); ++line) {
    counts.lines = line;
    if (text.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    check_json_depth(text, path, static_cast<std::uint64_t>(line));
    nlohmann::json object;
    try {
      object = nlohmann::json::parse(text);
    } catch (const nlohmann::json::exception& e) {
      // A list or an object that goes on in the next line.
      const std::size_t first = text.find_first_not_of(" \t\r");
      const bool goes_on = text.find_first_not_of("[{ \t\r", first) == std::string::npos;
      fail(ErrorCode::kCorrupt, path.string(), ":", line, ": not a JSON object: ", e.what(),
           goes_on ? ": " + json_lines_advice(path) : "");
    }
    GM_CHECK(object.is_object(), kCorrupt, path.string(), ":", line, ": expected a JSON object",
             object.is_array() ? ": " + json_lines_advice(path) : "");
    TableRow row{line, {}};
    for (const WantedColumn& column : columns) {
      const auto found = column.name.empty() ? object.end() : object.find(column.name);
      // null is "not there": JSON made from tables writes it for an empty cell.
      if (found == object.end() || found->is_null()) {
        std::vector<std::string> names;
        for (const auto& [key, value] : object.items()) {
          names.push_back(key);
        }
        GM_CHECK(!column.required, kCorrupt, path.string(), ":", line, ": no field '", column.name,
                 "' (there are: ", joined(names), ")");
        row.fields.emplace_back();
      } else {
        row.fields.push_back(found->is_string() ? found->get<std::string>() : found->dump());
      }
    }
    check_fields(path, row, columns);
    row_fn(row);
    ++counts.rows;
  }
  return counts;
}

}  // namespace

void TableCounts::add(const TableCounts& other) {
  files += other.files;
  lines += other.lines;
  rows += other.rows;
  rows_of_quotes += other.rows_of_quotes;
}

std::string TableCounts::text() const {
  return concat(files, files == 1 ? " file, " : " files, ", lines, " lines, ", rows, " rows");
}

TableCounts read_table(const std::filesystem::path& path, std::span<const WantedColumn> columns,
                       const std::function<void(const TableRow&)>& row, bool quoted) {
  GM_CHECK(std::filesystem::is_regular_file(path), kNotFound, path.string(), ": no such file");
  std::ifstream in(path, std::ios::binary);
  GM_CHECK(in.good(), kIo, path.string(), ": cannot be opened for reading");
  const std::string extension = path.extension().string();
  TableCounts counts;
  if (extension == ".tsv") {
    counts = read_tsv(path, in, quoted, columns, row);
  } else if (extension == ".jsonl" || extension == ".json") {
    counts = read_jsonl(path, in, columns, row);
  } else {
    fail(ErrorCode::kInvalidArgument, path.string(), ": expected a .tsv or .jsonl file");
  }
  GM_CHECK(!in.bad(), kIo, path.string(), ": reading failed");
  counts.files = 1;
  return counts;
}

}  // namespace growmerge::eval
