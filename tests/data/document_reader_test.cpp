#include "data/document_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/utf8.h"
#include "tests/data/text_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

TextInput input_of(const std::filesystem::path& path, bool lines = false) {
  TextInput input;
  input.path = path.string();
  input.lines = lines;
  return input;
}

std::vector<std::string> texts_of(const TextInput& input) {
  DocumentReader reader(input);
  std::vector<std::string> texts;
  while (const auto document = reader.next()) {
    texts.push_back(document->text);
  }
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_FALSE(find_invalid_utf8("plain ascii text, longer than eight"));
  EXPECT_FALSE(find_invalid_utf8("aß€😀\u0080\u07FF\u0800\uFFFF\U0010FFFF"));
  const std::vector<std::pair<std::string, std::size_t>> bad{
      {"\x80", 0},                  // continuation without a lead
      {"12345678\xC3", 8},          // cut
      {"a\xC0\x80", 1},             // overlong
      {"a\xE0\x9F\xBF", 1},         // overlong
      {"ab\xED\xA0\x80", 2},        // surrogate
      {"\xF0\x8F\xBF\xBF", 0},      // overlong
      {"x\xF4\x90\x80\x80", 1},     // over U+10FFFF
      {"ok\xF5\x80\x80\x80", 2},    // no such lead
      {"\xE2\x82\x41 and more", 0}  // wrong continuation
  };
  for (const auto& [text, offset] : bad) {
    EXPECT_EQ(find_invalid_utf8(text), offset) << text;
  }
  EXPECT_EQ(count_code_points("aß€😀"), 4u);
}

TEST(DocumentReader, AWholeTextFileIsOneDocument) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.txt", "\xEF\xBB\xBFone\n\ntwo\n");
  EXPECT_EQ(texts_of(input_of(dir.path() / "a.txt")), Texts{"one\n\ntwo\n"});
  write_text(dir.path() / "empty.txt", "");
  EXPECT_EQ(texts_of(input_of(dir.path() / "empty.txt")), Texts{""});
}

TEST(DocumentReader, LinesAreDocumentsWhenAskedFor) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.txt", "one\r\n\n  \ntwo\nlast");
  EXPECT_EQ(texts_of(input_of(dir.path() / "a.txt", true)), (Texts{"one", "two", "last"}));
  DocumentReader reader(input_of(dir.path() / "a.txt", true));
  (void)reader.next();
  EXPECT_EQ(reader.next()->id, (dir.path() / "a.txt").string() + ":4");
}

TEST(DocumentReader, JsonFieldsCanBeNamed) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.jsonl",
             "\xEF\xBB\xBF{\"id\": \"x\", \"text\": \"a\\u00e9\\n\\ud83d\\ude00\"}\r\n\n"
             "{\"id\": 7, \"text\": \"b\", \"content\": \"c\"}");
  DocumentReader reader(input_of(dir.path() / "a.jsonl"));
  const auto first = reader.next();
  EXPECT_EQ(first->id, "x");
  EXPECT_EQ(first->text, "aé\n😀");
  EXPECT_EQ(reader.next()->id, "7");
  EXPECT_FALSE(reader.next());
  TextInput input = input_of(dir.path() / "a.jsonl");
  input.text_field = "content";
  EXPECT_NE(testing::error_of(ErrorCode::kNotFound, [&] { (void)texts_of(input); })
                .find("a.jsonl:1: no field 'content' (fields: id, text)"),
            std::string::npos);
}

TEST(DocumentReader, JsonIsReadAsItIsWritten) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "a.jsonl";
  write_text(path, R"({"text": "a\n\"b\" \u00e9 \ud83d\ude00 \/", "id": "x"})"
                   "\n"
                   R"({"other": {"text": [1, 2.5e3, null]}, "id": 12, "text": "numbered"})"
                   "\n"
                   R"({"text": "first", "id": null, "text": "last"})"
                   "\n"
                   R"({"t\u0065xt": "named by an escape", "id": [1, "b"]})"
                   "\n"
                   R"(  {"text": "", "id": 123456789012345678901234567890}  )"
                   "\n");
  DocumentReader reader(input_of(path));
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"x", "a\n\"b\" é 😀 /"},
      {"12", "numbered"},
      {path.string() + ":3", "last"},
      {R"([1,"b"])", "named by an escape"},
      {"1.2345678901234568e+29", ""}};
  for (const auto& [id, text] : expected) {
    const auto document = reader.next();
    ASSERT_TRUE(document.has_value()) << text;
    EXPECT_EQ(document->id, id);
    EXPECT_EQ(document->text, text);
  }
  EXPECT_FALSE(reader.next().has_value());
}

TEST(DocumentReader, CompressedFilesReadTheSame) {
  const testing::TemporaryDirectory dir;
  const std::string text = json_lines(3000, "en");  // several buffers
  ASSERT_GT(text.size(), std::size_t{1} << 20);
  write_text(dir.path() / "plain/a.jsonl", text);
  write_text(dir.path() / "gz/a.jsonl.gz", gzip_bytes(text));
  const std::size_t middle = text.find('\n', text.size() / 2) + 1;
  write_text(dir.path() / "members/a.jsonl.gz",
             gzip_bytes(text.substr(0, middle)) + gzip_bytes(text.substr(middle)));
  write_text(dir.path() / "zst/a.jsonl.zst", zstd_bytes(text));
  write_text(dir.path() / "frames/a.jsonl.zst",
             zstd_bytes(text.substr(0, middle)) + zstd_bytes(text.substr(middle)));
  const Texts expected = texts_of(input_of(dir.path() / "plain"));
  EXPECT_EQ(expected.size(), 3000u);
  for (const char* kind : {"gz", "members", "zst", "frames"}) {
    EXPECT_EQ(texts_of(input_of(dir.path() / kind)), expected) << kind;
  }
}

TEST(DocumentReader, TruncatedAndDamagedCompressionIsNamed) {
  const testing::TemporaryDirectory dir;
  const std::string text = json_lines(300, "en");
  const std::vector<std::pair<std::string, std::string>> files{{"cut.jsonl.gz", gzip_bytes(text)},
                                                               {"cut.jsonl.zst", zstd_bytes(text)}};
  for (const auto& [name, bytes] : files) {
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{5}, bytes.size() / 2, bytes.size() - 1}) {
      write_text(dir.path() / name, bytes.substr(0, size));
      const std::string message = testing::error_of(
          ErrorCode::kCorrupt, [&] { (void)texts_of(input_of(dir.path() / name)); });
      EXPECT_NE(message.find(name), std::string::npos) << message;
      EXPECT_NE(message.find("truncated"), std::string::npos) << message;
    }
    std::string damaged = bytes;
    for (std::size_t i = 0; i < 40; ++i) {
      damaged[bytes.size() / 2 + i] ^= 0x5A;
    }
    write_text(dir.path() / name, damaged);
    (void)testing::error_of(ErrorCode::kCorrupt,
                            [&] { (void)texts_of(input_of(dir.path() / name)); });
  }
}

TEST(DocumentReader, DirectoriesAndPatternsExpandInByteOrder) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "b.txt", "b");
  write_text(dir.path() / "B.txt", "B");
  write_text(dir.path() / "a/z.txt", "az");
  write_text(dir.path() / "a/notes.md", "not read");
  write_text(dir.path() / ".hidden/x.txt", "not read");
  write_text(dir.path() / "c.jsonl", "{\"text\": \"c\"}\n");
  EXPECT_EQ(texts_of(input_of(dir.path())), (Texts{"B", "az", "b", "c"}));
  EXPECT_EQ(texts_of(input_of(dir.path() / "[bB].txt")), (Texts{"B", "b"}));
  (void)testing::error_of(ErrorCode::kNotFound,
                          [&] { (void)expand_input((dir.path() / "x*").string()); });
  (void)testing::error_of(ErrorCode::kNotFound,
                          [&] { (void)expand_input((dir.path() / "none.txt").string()); });
  EXPECT_NE(testing::error_of(ErrorCode::kUnsupported,
                              [&] { (void)expand_input((dir.path() / "a/notes.md").string()); })
                .find("notes.md: its kind is not known"),
            std::string::npos);
}

TEST(DocumentReader, BadLinesAreNamedByFileAndLine) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "a.jsonl";
  const std::string good = "{\"text\": \"fine\"}\n";
  const std::vector<std::pair<std::string, std::string>> cases{
      {"{\"text\": \"open", "a.jsonl:3: bad JSON"},
      {"[1, 2]", "a.jsonl:3: a line must be a JSON object, got array"},
      {"{\"text\": 5}", "a.jsonl:3: field 'text' must be a string, got number"},
      {"{\"text\": \"\xFF\"}", "a.jsonl:3: byte 11 of the line is not valid UTF-8"},
      {"{\"text\": \"\\ud800\"}", "a.jsonl:3: bad JSON"},
  };
  for (const auto& [line, expected] : cases) {
    write_text(path, good + "\n" + line + "\n");
    const std::string message =
        testing::error_of(ErrorCode::kCorrupt, [&] { (void)texts_of(input_of(path)); });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  }
  write_text(dir.path() / "t.txt", "ab\xC3");
  EXPECT_NE(testing::error_of(ErrorCode::kCorrupt,
                              [&] { (void)texts_of(input_of(dir.path() / "t.txt")); })
                .find("byte 3 of the file is not valid UTF-8"),
            std::string::npos);
}

TEST(DocumentReader, CountsBytesForProgress) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.txt", "12345");
  write_text(dir.path() / "b.jsonl.gz", gzip_bytes(json_lines(10, "en")));
  DocumentReader reader(input_of(dir.path()));
  while (reader.next()) {
  }
  EXPECT_EQ(reader.raw().total_bytes(), 5 + std::filesystem::file_size(dir.path() / "b.jsonl.gz"));
  EXPECT_EQ(reader.raw().bytes_read(), reader.raw().total_bytes());
}

}  // namespace
}  // namespace growmerge::data
