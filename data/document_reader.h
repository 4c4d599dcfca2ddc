// Documents from text files, one at a time, in a fixed order.
//
// A line of a .jsonl file is a document, blank lines are skipped; a .txt file is one, or with
// `lines` each line of it that is not blank. A UTF-8 byte order mark is dropped; a line may end in
// CR LF, and the last one without either. NUL is a character like any other. Which files are read:
// data/text_files.h.
//
// Memory: one document and a buffer. Reading and parsing are two steps, so that a reader can deal
// raw records out to threads and ranks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_files.h"

namespace growmerge::data {

class ByteStream;

struct TextInput {
  std::string path;
  std::string language;
  std::string text_field = "text";
  std::string id_field = "id";
  bool lines = false;

  template <class V>
  void describe(V& v) {
    v("path", path, "",
      "a .txt or .jsonl file, also .gz, .zst, .xz or .bz2; a pattern; or a directory", v.kInput);
    v("language", language, "", "language of the text, the name of its shard");
    v("text_field", text_field, "", "JSON field that holds a document's text");
    v("id_field", id_field, "", "JSON field that names a document, where there is one");
    v("lines", lines, "", "each line of a .txt file is a document");
  }
};

struct Document {
  std::string id;  // the id field, or FILE:LINE
  std::string text;
};

/// A document before it is parsed: a line, or a whole file.
struct RawDocument {
  std::string bytes;
  std::uint32_t file = 0;  // index into RawReader::files()
  TextKind kind = TextKind::kUnknown;
  std::uint64_t line = 0;    // 1-based; 0 for a whole file
  bool is_too_long = false;  // and left out of `bytes`: parse_document() complains of it
};

class RawReader {
 public:
  /// What is longer is a file that is not what its name says.
  static constexpr std::size_t kLongest = std::size_t{1} << 30;

  /// Errors: those of expand_input().
  explicit RawReader(const TextInput& input, std::size_t longest = kLongest);
  ~RawReader();
  /// False at the end. Errors: kCorrupt for damaged compressed data; kIo.
  [[nodiscard]] bool next(RawDocument& document);
  [[nodiscard]] const std::vector<std::filesystem::path>& files() const { return files_; }
  /// Bytes of all files, and bytes of them read so far, as they lie on disk.
  [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }
  [[nodiscard]] std::uint64_t bytes_read() const;

 private:
  bool fill();
  void append(RawDocument& document, std::string_view bytes) const;
  bool next_line(RawDocument& document);
  void next_file();
  bool lines_;
  std::size_t longest_;
  std::vector<std::filesystem::path> files_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t finished_bytes_ = 0;
  std::size_t file_ = 0;
  TextKind kind_ = TextKind::kUnknown;
  std::uint64_t line_ = 0;
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

/// Errors: kCorrupt naming file:line for invalid UTF-8, bad JSON or a document over 1 GiB,
/// kNotFound for a missing field. `file` is where the document came from.
[[nodiscard]] Document parse_document(const RawDocument& raw, const TextInput& input,
                                      const std::filesystem::path& file);

/// Both steps in one, for a single thread.
class DocumentReader {
 public:
  explicit DocumentReader(TextInput input) : input_(std::move(input)), reader_(input_) {}
  [[nodiscard]] std::optional<Document> next();
  [[nodiscard]] const RawReader& raw() const { return reader_; }

 private:
  TextInput input_;
  RawReader reader_;
};

}  // namespace growmerge::data
