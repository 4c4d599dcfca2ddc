#include "eval/table_reader.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::eval {
namespace {

using RowFn = std::function<void(const TableRow&)>;

class TsvReader {
 public:
  TsvReader(const std::filesystem::path& path, std::istream& in) : path_(path), in_(in) {}

  std::int64_t row_line() const { return row_line_; }

  /// The next row's fields, or false at the end of the file.
  bool next(std::vector<std::string>& fields) {
    fields.clear();
    row_line_ = line_ + 1;
    std::string text;
    if (!read_line(text)) {
      return false;
    }
    std::string field;
    bool quoted = false;
    std::size_t i = 0;
    for (;;) {
      if (i == text.size()) {
        if (!quoted) {
          break;
        }
        field += '\n';  // a newline inside quotes is text
        GM_CHECK(read_line(text), kCorrupt, path_.string(), ":", row_line_,
                 ": a quoted field that begins in this row never ends");
        i = 0;
        continue;
      }
      const char c = text[i++];
      if (quoted) {
        if (c != '"') {
          field += c;
        } else if (i < text.size() && text[i] == '"') {
          field += '"';
          ++i;
        } else {
          quoted = false;
        }
      } else if (c == '\t') {
        fields.push_back(std::move(field));
        field.clear();
      } else if (c == '"' && field.empty()) {
        quoted = true;
      } else {
        field += c;
      }
    }
    fields.push_back(std::move(field));
    return true;
  }

 private:
  bool read_line(std::string& text) {
    if (!std::getline(in_, text)) {
      return false;
    }
    ++line_;
    // Files from Windows.
    if (!text.empty() && text.back() == '\r') {
      text.pop_back();
    }
    return true;
  }

  const std::filesystem::path& path_;
  std::istream& in_;
  std::int64_t line_ = 0;
  std::int64_t row_line_ = 0;
};

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

void read_tsv(const std::filesystem::path& path, std::istream& in,
              std::span<const WantedColumn> columns, const RowFn& row_fn) {
  TsvReader reader(path, in);
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
  }
}

void read_jsonl(const std::filesystem::path& path, std::istream& in,
                std::span<const WantedColumn> columns, const RowFn& row_fn) {
  std::string text;
  for (std::int64_t line = 1; std::getline(in, text); ++line) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    nlohmann::json object;
    try {
      object = nlohmann::json::parse(text);
    } catch (const nlohmann::json::exception& e) {
      fail(ErrorCode::kCorrupt, path.string(), ":", line, ": not a JSON object: ", e.what());
    }
    GM_CHECK(object.is_object(), kCorrupt, path.string(), ":", line, ": expected a JSON object");
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
  }
}

}  // namespace

void read_table(const std::filesystem::path& path, std::span<const WantedColumn> columns,
                const std::function<void(const TableRow&)>& row) {
  GM_CHECK(std::filesystem::is_regular_file(path), kNotFound, path.string(), ": no such file");
  std::ifstream in(path, std::ios::binary);
  GM_CHECK(in.good(), kIo, path.string(), ": cannot be opened for reading");
  const std::string extension = path.extension().string();
  if (extension == ".tsv") {
    read_tsv(path, in, columns, row);
  } else if (extension == ".jsonl" || extension == ".json") {
    read_jsonl(path, in, columns, row);
  } else {
    fail(ErrorCode::kInvalidArgument, path.string(), ": expected a .tsv or .jsonl file");
  }
  GM_CHECK(!in.bad(), kIo, path.string(), ": reading failed");
}

}  // namespace growmerge::eval
