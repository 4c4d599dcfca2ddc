#include "data/document_reader.h"

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
#include "core/base/json_text.h"
#include "data/byte_stream.h"
#include "data/utf8.h"

namespace growmerge::data {
namespace {

namespace fs = std::filesystem;

/// What is between the first and the last character that is no white space.
std::string_view without_blanks(std::string_view line) {
  constexpr const char* kBlanks = " \t\r\n\v\f";
  const std::size_t begin = line.find_first_not_of(kBlanks);
  return begin == std::string_view::npos
             ? std::string_view()
             : line.substr(begin, line.find_last_not_of(kBlanks) + 1 - begin);
}

bool is_blank(std::string_view line) { return without_blanks(line).empty(); }

/// By its byte order mark.
bool is_utf16(std::string_view bytes) {
  return bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF");
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
  check_json_depth(raw.bytes, file, raw.line);
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(raw.bytes);
  } catch (const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: ..." names its own line 1.
    std::string_view what = e.what();
    const std::size_t column = what.find("column ");
    what.remove_prefix(column == std::string_view::npos ? 0 : column);
    // "[" or "{" alone begins JSON that goes over several lines.
    const std::string_view line = without_blanks(raw.bytes);
    const bool goes_on = line == "[" || line == "{" || line == "[{";
    fail(ErrorCode::kCorrupt, where, ": bad JSON: ", what,
         goes_on ? ": " + lines_advice(file) : "");
  }
  GM_CHECK(object.is_object(), kCorrupt, where, ": a line must be a JSON object, got ",
           object.type_name(), object.is_array() ? ": " + lines_advice(file) : "");
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

RawReader::RawReader(const TextInput& input, std::size_t longest)
    : lines_(input.lines), longest_(longest), files_(expand_input(input.path)), buffer_(1 << 18) {
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

/// What is too long is passed over: it would fill the memory before anybody could complain of it.
void RawReader::append(RawDocument& document, std::string_view bytes) const {
  document.is_too_long |= document.bytes.size() + bytes.size() > longest_;
  if (document.is_too_long) {
    document.bytes = std::string();
  } else {
    document.bytes += bytes;
  }
}

/// False at the file's end; a last line without a newline counts.
bool RawReader::next_line(RawDocument& document) {
  document.bytes.clear();
  document.is_too_long = false;
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
    append(document, {from, length});
    begin_ += length;
    if (newline != nullptr) {
      ++begin_;
      return true;
    }
  }
}

bool RawReader::next(RawDocument& document) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  document.bytes.clear();
  document.is_too_long = false;
  for (; file_ < files_.size(); next_file()) {
    // The reader stops behind each document and comes back here.
    const bool opened = stream_ == nullptr;
    if (opened) {
      stream_ = ByteStream::open(files_[file_]);
      kind_ = text_kind_of(files_[file_]);
      begin_ = end_ = 0;
      line_ = 0;
    }
    document.file = static_cast<std::uint32_t>(file_);
    document.kind = kind_;
    if (kind_ == TextKind::kText && !lines_) {
      if (!opened) {
        continue;  // this file was the document before
      }
      document.line = 0;
      while (fill()) {
        append(document, {buffer_.data(), end_});
      }
      if (document.bytes.starts_with(kByteOrderMark)) {
        document.bytes.erase(0, kByteOrderMark.size());
      }
      return true;
    }
    while (next_line(document)) {
      // Windows editors put one in front of the file; it is no part of the text.
      if (line_ == 1 && document.bytes.starts_with(kByteOrderMark)) {
        document.bytes.erase(0, kByteOrderMark.size());
      }
      if (document.is_too_long || !is_blank(document.bytes)) {
        document.line = line_;
        return true;
      }
    }
  }
  return false;
}

Document parse_document(const RawDocument& raw, const TextInput& input, const fs::path& file) {
  const bool is_json = raw.kind == TextKind::kJsonLines;
  GM_CHECK(!raw.is_too_long, kCorrupt, position(file, raw.line), ": ",
           raw.line == 0 ? "the file, one document," : "the line", " is too long (",
           RawReader::kLongest, " bytes are read): ",
           is_json         ? lines_advice(file)
           : raw.line == 0 ? "split it, or set `lines: true`"
                           : "split it");
  if (is_json) {  // which also finds what is not UTF-8
    if (std::optional<Document> document = parse_json_fast(raw, input, file)) {
      return std::move(*document);
    }
  }
  const std::optional<std::size_t> invalid = find_invalid_utf8(raw.bytes);
  GM_CHECK(!invalid, kCorrupt, position(file, raw.line), ": byte ", *invalid + 1,
           raw.line == 0 ? " of the file" : " of the line",
           " is not valid UTF-8: convert the file with iconv -f ",
           is_utf16(raw.bytes) ? "UTF-16" : "ITS_ENCODING", " -t UTF-8");
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
