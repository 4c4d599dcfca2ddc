#include "data/text_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/document_reader.h"
#include "tests/data/text_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

using Texts = std::vector<std::string>;

Texts texts_of(const std::filesystem::path& path, bool lines = false) {
  TextInput input;
  input.path = path.string();
  input.lines = lines;
  DocumentReader reader(input);
  Texts texts;
  while (const auto document = reader.next()) {
    texts.push_back(document->text);
  }
  return texts;
}

TEST(TextFiles, EveryCompressionIsReadUnderEveryKind) {
  const testing::TemporaryDirectory dir;
  const std::string json = "{\"text\": \"one\"}\n{\"text\": \"two\"}";
  const std::vector<std::pair<std::string, std::string (*)(const std::string&)>> kinds = {
      {".gz", gzip_bytes}, {".zst", zstd_bytes}, {".xz", xz_bytes}, {".bz2", bzip2_bytes}};
  for (const auto& [extension, pack] : kinds) {
    const auto folder = dir.path() / extension.substr(1);
    write_text(folder / ("a.jsonl" + extension), pack(json));
    write_text(folder / ("b.ndjson" + extension), pack(json));
    write_text(folder / ("c.txt" + extension), pack("three\nfour\n"));
    EXPECT_EQ(texts_of(folder), (Texts{"one", "two", "one", "two", "three\nfour\n"})) << extension;
    EXPECT_EQ(texts_of(folder / ("c.txt" + extension), true), (Texts{"three", "four"}));
  }
}

TEST(TextFiles, OtherKindsAreRefusedWithTheCommandThatConvertsThem) {
  const testing::TemporaryDirectory dir;
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"a.json", {"jq -c '.[]' '", "a.lines.jsonl"}},
      {"a.json.zst", {"zstd -dc '", "| jq -c '.[]'"}},
      {"a.json.bz2", {"bzip2 -dc '", "| jq -c '.[]'"}},
      {"a.tsv", {"csv.DictReader", "QUOTE_NONE", "a.jsonl"}},
      {"a.csv.gz", {"gzip -dc '", "csv.DictReader", "a.jsonl"}},
      {"a.parquet", {"read_parquet", "lines=True"}},
      {"a.tar.gz", {"unpack it"}},
      {"a.md", {".txt, .jsonl or .ndjson"}}};
  for (const auto& [name, parts] : cases) {
    const auto path = dir.path() / name;
    write_text(path, "x");
    const std::string message =
        testing::error_of(ErrorCode::kUnsupported, [&] { (void)expand_input(path.string()); });
    EXPECT_NE(message.find(name + ": its kind is not known"), std::string::npos) << message;
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  }
}

TEST(TextFiles, ListsAndObjectsOverSeveralLinesAreRefusedWithTheCommand) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "a.jsonl";
  for (const std::string text :
       {"[{\"text\": \"a\"},\n {\"text\": \"b\"}]", "[\n  {\"text\": \"a\"}\n]",
        "{\n  \"text\": \"a\"\n}\n", "[{\"text\": \"a\"}, {\"text\": \"b\"}]\n"}) {
    write_text(path, text);
    EXPECT_ERROR(texts_of(path), kCorrupt, "a.jsonl:1: ");
  }
  for (const std::string text : {"[\n  {\"text\": \"a\"}\n]", "{\n  \"text\": \"a\"\n}\n",
                                 "[{\"text\": \"a\"}, {\"text\": \"b\"}]\n"}) {
    write_text(path, text);
    EXPECT_ERROR(texts_of(path), kCorrupt, "a.jsonl:1: ", "jq -c '.[]'");
  }
}

TEST(TextFiles, LineEndsMarksAndNulBytes) {
  const testing::TemporaryDirectory dir;
  const std::string nul("a\0b", 3);
  const std::vector<std::pair<std::string, Texts>> cases = {
      {"one\ntwo\n", {"one", "two"}},
      {"one\ntwo", {"one", "two"}},
      {"one\r\ntwo\r\n", {"one", "two"}},
      {"one\r\ntwo\r", {"one", "two"}},
      {"\xEF\xBB\xBFone\r\n\xEF\xBB\xBFtwo",
       {"one", "\xEF\xBB\xBFtwo"}},  // the first alone is a mark
      {"\xEF\xBB\xBF\none", {"one"}},
      {"\n\r\n \t\none\n\n\n", {"one"}},
      {nul + "\n\n" + nul, {nul, nul}},
      {"", {}},
      {"\n", {}},
  };
  for (const auto& [text, expected] : cases) {
    write_text(dir.path() / "a.txt", text);
    EXPECT_EQ(texts_of(dir.path() / "a.txt", true), expected) << text;
    write_text(dir.path() / "a.txt.zst", zstd_bytes(text));
    EXPECT_EQ(texts_of(dir.path() / "a.txt.zst", true), expected) << text;
  }
  write_text(dir.path() / "a.jsonl",
             "\xEF\xBB\xBF\r\n{\"text\": \"a\\u0000b\"}\r\n\r\n{\"text\": \"c\"}");
  EXPECT_EQ(texts_of(dir.path() / "a.jsonl"), (Texts{nul, "c"}));
  // A file that was filled up with zeros when its writer died.
  write_text(dir.path() / "a.jsonl", "{\"text\": \"c\"}\n" + std::string(4096, '\0'));
  EXPECT_ERROR(texts_of(dir.path() / "a.jsonl"), kCorrupt, "a.jsonl:2: bad JSON");
}

TEST(TextFiles, OtherEncodingsAreNamedByFileAndLine) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "a.txt";
  write_text(path, "fine\ncaf\xE9\n");
  EXPECT_ERROR(texts_of(path, true), kCorrupt, "a.txt:2: byte 4 of the line", "iconv");
  write_text(path, std::string("\xFF\xFEo\0n\0", 6));
  EXPECT_ERROR(texts_of(path), kCorrupt, "a.txt: byte 1 of the file", "iconv -f UTF-16");
}

TEST(TextFiles, LinesLongerThanABufferAreWhole) {
  const testing::TemporaryDirectory dir;
  const std::string line(3'000'001, 'x');
  write_text(dir.path() / "a.txt", "short\n" + line + "\r\n" + line);
  EXPECT_EQ(texts_of(dir.path() / "a.txt", true), (Texts{"short", line, line}));
}

TEST(TextFiles, WhatIsTooLongIsNamedAndTheNextLineIsRead) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.txt", "one\n" + std::string(1'000'000, 'x') + "\ntwo");
  TextInput input;
  input.path = (dir.path() / "a.txt").string();
  input.lines = true;
  RawReader reader(input, 1000);
  std::vector<std::string> seen;
  for (RawDocument raw; reader.next(raw);) {
    try {
      seen.push_back(parse_document(raw, input, reader.files()[raw.file]).text);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCorrupt);
      seen.push_back(e.what());
    }
  }
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0], "one");
  EXPECT_NE(seen[1].find("a.txt:2: the line is too long"), std::string::npos) << seen[1];
  EXPECT_EQ(seen[2], "two");
}

TEST(TextFiles, PipesAndDevicesAreRefused) {
  const testing::TemporaryDirectory dir;
  const auto pipe = dir.path() / "a.txt";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_ERROR(expand_input(pipe.string()), kInvalidArgument, "a.txt", "is a pipe");
  std::filesystem::create_symlink("/dev/zero", dir.path() / "b.jsonl");
  EXPECT_ERROR(expand_input((dir.path() / "b.jsonl").string()), kInvalidArgument, "is a device");
}

TEST(TextFiles, DeepJsonIsRefusedWithItsLine) {
  const testing::TemporaryDirectory dir;
  const std::string deep = std::string(60'000, '[') + std::string(60'000, ']');
  write_text(dir.path() / "a.jsonl",
             "{\"text\": \"a\"}\n{\"text\": \"b\", \"id\": " + deep + "}\n");
  EXPECT_ERROR(texts_of(dir.path() / "a.jsonl"), kCorrupt, "a.jsonl:2", "nested");
}

}  // namespace
}  // namespace growmerge::data
