#include "data/document_reader.h"

#include <glob.h>
#ifdef GROWMERGE_HAVE_SIMDJSON
#include <simdjson.h>
#endif

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "data/byte_stream.h"
#include "data/utf8.h"

namespace growmerge::data {
namespace {

namespace fs = std::filesystem;

// What is longer is a file that is not what its name says, and would fill the memory first.
constexpr std::size_t kLargestDocument = std::size_t{1} << 30;

enum class Kind { kUnknown, kText, kJsonLines };

Kind kind_of(fs::path path) {
  if (path.extension() == ".gz" || path.extension() == ".zst") {
    path.replace_extension();
  }
  const fs::path extension = path.extension();
  if (extension == ".txt") {
    return Kind::kText;
  }
  return extension == ".jsonl" || extension == ".ndjson" ? Kind::kJsonLines : Kind::kUnknown;
}

void add_directory(const fs::path& dir, std::vector<fs::path>& files) {
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(dir, error); it != fs::end(it);
       it.increment(error)) {
    GM_CHECK(!error, kIo, dir.string(), ": cannot list: ", error.message());
    const std::string name = it->path().filename().string();
    // Hidden folders hold other programs' files (.git, .cache); a .txt there is no text to train
    // on.
    if (name.starts_with('.')) {
      it.disable_recursion_pending();
    } else if (it->is_regular_file(error) && kind_of(it->path()) != Kind::kUnknown) {
      files.push_back(it->path());
    }
  }
  GM_CHECK(!error, kIo, dir.string(), ": cannot list: ", error.message());
}

std::vector<fs::path> match_pattern(const std::string& pattern) {
  glob_t result{};
  // GLOB_ERR: a directory that cannot be read must not silently give fewer files.
  const int status = glob(pattern.c_str(), GLOB_NOSORT | GLOB_ERR, nullptr, &result);
  std::vector<fs::path> paths(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  globfree(&result);
  GM_CHECK(status == 0 || status == GLOB_NOMATCH, kIo, pattern, ": cannot list a directory of it");
  return paths;
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

std::string position(const fs::path& file, std::uint64_t line) {
  return line == 0 ? file.string() : file.string() + ":" + std::to_string(line);
}

/// The names of its fields, for error messages; the first 200 characters or so.
std::string known_fields(const nlohmann::json& object) {
  std::string names;
  for (const auto& [name, value] : object.items()) {
    names += (names.empty() ? "" : ", ") + name;
    if (names.size() > 200) {
      return names + ", ...";
    }
  }
  return names.empty() ? "none" : names;
}

/// The line's document where simdjson takes it and the fields are what nearly all corpora have;
/// nothing where a fault must be explained, an id be written as JSON, or simdjson is not there. As
/// everywhere in JSON's practice, the last of two equal names counts.
std::optional<Document> parse_json_fast([[maybe_unused]] const RawDocument& raw,
                                        [[maybe_unused]] const TextInput& input,
                                        [[maybe_unused]] const fs::path& file) {
#ifdef GROWMERGE_HAVE_SIMDJSON
  // It keeps its buffers from line to line; encoding runs on several threads.
  thread_local simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(raw.bytes).get(object) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  std::optional<std::string_view> text;
  std::optional<std::string_view> id;
  for (const auto& [name, value] : object) {
    if (name == input.text_field) {
      std::string_view found;
      if (value.get(found) != simdjson::SUCCESS) {
        return std::nullopt;
      }
      text = found;
    } else if (name == input.id_field) {
      std::string_view found;
      if (value.get(found) != simdjson::SUCCESS) {
        return std::nullopt;
      }
      id = found;
    }
  }
  if (!text) {
    return std::nullopt;
  }
  return Document{id ? std::string(*id) : position(file, raw.line), std::string(*text)};
#else
  return std::nullopt;
#endif
}

Document parse_json(const RawDocument& raw, const TextInput& input, const fs::path& file) {
  const std::string where = position(file, raw.line);
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(raw.bytes);
  } catch (const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: ..." names its own line 1.
    std::string_view what = e.what();
    const std::size_t column = what.find("column ");
    what.remove_prefix(column == std::string_view::npos ? 0 : column);
    fail(ErrorCode::kCorrupt, where, ": bad JSON: ", what);
  }
  GM_CHECK(object.is_object(), kCorrupt, where, ": a line must be a JSON object, got ",
           object.type_name());
  const auto text = object.find(input.text_field);
  GM_CHECK(text != object.end(), kNotFound, where, ": no field '", input.text_field,
           "' (fields: ", known_fields(object), "): name it with `text_field`");
  GM_CHECK(text->is_string(), kCorrupt, where, ": field '", input.text_field,
           "' must be a string, got ", text->type_name());
  Document document;
  document.text = std::move(text->get_ref<std::string&>());
  const auto id = object.find(input.id_field);
  if (id == object.end() || id->is_null()) {
    document.id = where;
  } else {
    document.id = id->is_string() ? id->get<std::string>() : id->dump();
  }
  return document;
}

}  // namespace

std::vector<fs::path> expand_input(const std::string& path) {
  std::error_code ignored;
  std::vector<fs::path> files;
  std::vector<fs::path> named{path};
  if (!fs::exists(path, ignored) && path.find_first_of("*?[") != std::string::npos) {
    named = match_pattern(path);
  }
  for (const fs::path& name : named) {
    if (fs::is_directory(name, ignored)) {
      add_directory(name, files);
      continue;
    }
    GM_CHECK(fs::exists(name, ignored), kNotFound, name.string(), ": no such file or directory");
    GM_CHECK(kind_of(name) != Kind::kUnknown, kUnsupported, name.string(),
             ": its kind is not known: .txt, .jsonl or .ndjson, also with .gz or .zst, are read");
    files.push_back(name);
  }
  GM_CHECK(!files.empty(), kNotFound, path, ": no .txt or .jsonl file (also .gz, .zst) is there");
  // By bytes: neither the locale nor the file system's order may decide what is read first.
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  return files;
}

RawReader::RawReader(const TextInput& input)
    : lines_(input.lines), files_(expand_input(input.path)), buffer_(1 << 18) {
  for (const fs::path& file : files_) {
    std::error_code ignored;
    // For a progress line alone, so a size that cannot be read is no error.
    total_bytes_ += fs::file_size(file, ignored);
  }
}

RawReader::~RawReader() = default;

std::uint64_t RawReader::bytes_read() const {
  return finished_bytes_ + (stream_ ? stream_->file_bytes_read() : 0);
}

bool RawReader::fill() {
  begin_ = 0;
  end_ = stream_->read(buffer_.data(), buffer_.size());
  return end_ > 0;
}

void RawReader::next_file() {
  finished_bytes_ += stream_->file_bytes_read();
  stream_.reset();
  ++file_;
}

/// False at the file's end; a last line without a newline counts.
bool RawReader::next_line(std::string& line) {
  line.clear();
  ++line_;
  for (bool any = false;;) {
    if (begin_ == end_ && !fill()) {
      return any;
    }
    any = true;
    // memchr scans many bytes at a time; most of a corpus is inside lines.
    const char* from = buffer_.data() + begin_;
    const auto* newline = static_cast<const char*>(std::memchr(from, '\n', end_ - begin_));
    const std::size_t length =
        newline != nullptr ? static_cast<std::size_t>(newline - from) : end_ - begin_;
    GM_CHECK(line.size() + length <= kLargestDocument, kCorrupt, position(files_[file_], line_),
             ": line is longer than ", kLargestDocument, " bytes");
    line.append(from, length);
    begin_ += length;
    if (newline != nullptr) {
      ++begin_;
      return true;
    }
  }
}

bool RawReader::next(RawDocument& document) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  for (; file_ < files_.size(); next_file()) {
    // The reader stops behind each document and comes back here.
    const bool opened = stream_ == nullptr;
    if (opened) {
      stream_ = ByteStream::open(files_[file_]);
      begin_ = end_ = 0;
      line_ = 0;
    }
    document.file = static_cast<std::uint32_t>(file_);
    if (kind_of(files_[file_]) == Kind::kText && !lines_) {
      if (!opened) {
        continue;  // this file was the document before
      }
      document.line = 0;
      document.bytes.clear();
      while (fill()) {
        GM_CHECK(document.bytes.size() + end_ <= kLargestDocument, kCorrupt, files_[file_].string(),
                 ": one document is longer than ", kLargestDocument,
                 " bytes: split the file, or set `lines: true`");
        document.bytes.append(buffer_.data(), end_);
      }
      if (document.bytes.starts_with(kByteOrderMark)) {
        document.bytes.erase(0, kByteOrderMark.size());
      }
      return true;
    }
    while (next_line(document.bytes)) {
      // Windows editors put one in front of the file; it is no part of the text.
      if (line_ == 1 && document.bytes.starts_with(kByteOrderMark)) {
        document.bytes.erase(0, kByteOrderMark.size());
      }
      if (!is_blank(document.bytes)) {
        document.line = line_;
        return true;
      }
    }
  }
  return false;
}

Document parse_document(const RawDocument& raw, const TextInput& input, const fs::path& file) {
  const bool is_json = kind_of(file) == Kind::kJsonLines;
  if (is_json) {  // which also finds what is not UTF-8
    if (std::optional<Document> document = parse_json_fast(raw, input, file)) {
      return std::move(*document);
    }
  }
  const std::optional<std::size_t> invalid = find_invalid_utf8(raw.bytes);
  GM_CHECK(!invalid, kCorrupt, position(file, raw.line), ": byte ", *invalid + 1,
           raw.line == 0 ? " of the file" : " of the line",
           " is not valid UTF-8: convert the file (for example with iconv)");
  if (is_json) {
    return parse_json(raw, input, file);
  }
  Document document{position(file, raw.line), raw.bytes};
  // Lines of a file with CRLF ends; a whole file stays as it is.
  if (raw.line != 0 && document.text.ends_with('\r')) {
    document.text.pop_back();
  }
  return document;
}

std::optional<Document> DocumentReader::next() {
  RawDocument raw;
  if (!reader_.next(raw)) {
    return std::nullopt;
  }
  return parse_document(raw, input_, reader_.files()[raw.file]);
}

}  // namespace growmerge::data
