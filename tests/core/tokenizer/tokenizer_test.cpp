#include "core/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<std::int32_t>;

/// A byte-level tokenizer of the letters a to e, the space and the merges ab, abc and " a".
Json small_tokenizer() {
  return Json::parse(R"({
    "added_tokens": [{"id": 9, "content": "<x>", "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE",
      "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "\u0120": 5, "ab": 6, "abc": 7,
                "\u0120a": 8},
      "merges": ["a b", ["ab", "c"], "\u0120 a"]}})");
}

Tokenizer parse(const Json& json) { return Tokenizer::parse(json.dump(), "test"); }

void expect_error(const std::string& text, ErrorCode code, const std::string& message) {
  try {
    (void)Tokenizer::parse(text, "test");
    ADD_FAILURE() << "no error for " << text;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
    EXPECT_TRUE(std::string(e.what()).starts_with("loading test: ")) << e.what();
  }
}

/// The error that the small tokenizer gives with one value changed.
void expect_error_with(const std::string& pointer, const std::string& value, ErrorCode code,
                       const std::string& message) {
  Json json = small_tokenizer();
  json[Json::json_pointer(pointer)] = Json::parse(value);
  expect_error(json.dump(), code, message);
}

TEST(Tokenizer, MergesByRankAndLeftmostFirst) {
  const Tokenizer t = parse(small_tokenizer());
  EXPECT_EQ(t.encode("abcab", false), (Ids{7, 6}));
  // In " abc" the merge ab comes first, so that " a" has no chance.
  EXPECT_EQ(t.encode("ab abc", false), (Ids{6, 5, 7}));
  EXPECT_EQ(t.encode(" acb", false), (Ids{8, 2, 1}));
  EXPECT_EQ(t.encode("", false), Ids{});
  EXPECT_EQ(t.encode("a<x>b", false), (Ids{0, 9, 1}));
  EXPECT_EQ(t.vocab_size(), 10);
  EXPECT_EQ(t.id_to_token(9), "<x>");
  EXPECT_EQ(t.token_to_id("abc"), 7);
  EXPECT_EQ(t.token_to_id("zzz"), std::nullopt);
}

TEST(Tokenizer, DecodeSkipsSpecialTokensAndUnknownIds) {
  const Tokenizer t = parse(small_tokenizer());
  const Ids ids = {9, 7, 5, 3, 77, -1};
  EXPECT_EQ(t.decode(ids, false), "<x>abc d");
  EXPECT_EQ(t.decode(ids, true), "abc d");
}

TEST(Tokenizer, LongWordsGiveWhatShortOnesGive) {
  // Words over 48 symbols take another path; repeating "abcd" must repeat its tokens.
  const Tokenizer t = parse(small_tokenizer());
  std::string text;
  Ids expected;
  for (int i = 0; i < 400; ++i) {
    text += "abcd";
    expected.insert(expected.end(), {7, 3});
    ASSERT_EQ(t.encode(text, false), expected) << i;
  }
}

TEST(Tokenizer, InvalidUtf8NamesTheByte) {
  const Tokenizer t = parse(small_tokenizer());
  for (const std::string bad :
       {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    try {
      (void)t.encode("abcdabcdab" + bad, false);
      ADD_FAILURE() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCorrupt);
      EXPECT_NE(std::string(e.what()).find("not valid UTF-8 at byte 10"), std::string::npos)
          << e.what();
    }
  }
}

TEST(Tokenizer, ByteLevelDecodingReplacesInvalidUtf8) {
  Json json = small_tokenizer();
  json["added_tokens"] = Json::array();
  json["model"]["vocab"]["\u00E2"] = 10;  // the byte 0xE2
  const Tokenizer t = parse(json);
  EXPECT_EQ(t.decode(Ids{0, 10, 1}, false),
            "a\xEF\xBF\xBD"
            "b");
}

TEST(Tokenizer, SentencePieceStyleFallsBackToBytes) {
  Json vocab = {{"<unk>", 0}, {"\u2581", 1}, {"a", 2}, {"\u2581a", 3}};
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", b);
    vocab[name] = 4 + b;
  }
  const Json json = {
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", "\u2581"}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<unk>"}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"special_tokens", {{"<unk>", {{"id", "<unk>"}, {"ids", {0}}}}}}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"byte_fallback", true},
        {"fuse_unk", true},
        {"vocab", vocab},
        {"merges", {"\u2581 a"}}}}};
  const Tokenizer t = parse(json);
  EXPECT_EQ(t.encode("a  aa", false), (Ids{3, 1, 3, 2}));
  EXPECT_EQ(t.encode("\xC3\xA9", true), (Ids{0, 1, 4 + 0xC3, 4 + 0xA9}));
  EXPECT_EQ(t.decode(t.encode("a \xC3\xA9  b", false), false), "a \xC3\xA9  b");
  EXPECT_EQ(t.decode(Ids{1, 4 + 0xC3, 2}, false),
            "\xEF\xBF\xBD"
            "a");
}

TEST(Tokenizer, WhatIsNotUnderstoodIsRefusedByName) {
  const auto refused = ErrorCode::kUnsupported;
  expect_error_with("/model/type", R"("WordPiece")", refused, "model 'WordPiece' is not supported");
  expect_error_with("/model/type", R"("WordLevel")", refused, "train one (growmerge tokenizer");
  expect_error_with("/model/type", R"("Other")", refused, "model 'Other' is not understood");
  expect_error_with("/model/dropout", "0.1", refused, "dropout");
  expect_error_with("/model/continuing_subword_prefix", R"("##")", refused,
                    "continuing_subword_prefix");
  expect_error_with("/normalizer", R"({"type": "BertNormalizer"})", refused,
                    "normalizer 'BertNormalizer'");
  expect_error_with("/pre_tokenizer", R"({"type": "UnicodeScripts"})", refused,
                    "pre-tokenizer 'UnicodeScripts'");
  expect_error_with("/post_processor", R"({"type": "Other"})", refused, "post-processor 'Other'");
  expect_error_with("/decoder", R"({"type": "WordPiece"})", refused, "decoder 'WordPiece'");
  for (const char* pattern :
       {R"((?i:\\p{L}))", R"(\\p{Klingon})", R"(\\X)", R"(\\Ga)", R"((a)\\1)", "(?~a)", "(?(1)a)",
        "(*FAIL)", "(?i:ss)", "*a", "(", "a)", "[a", R"([a-\\d])", R"(\\xC3)"}) {
    std::string value = R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": ")";
    value.append(pattern).append("\"}}");
    expect_error_with("/pre_tokenizer", value, refused, "pattern '");
  }
}

Json split_by(const char* pattern) {
  Json json = small_tokenizer();
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  return json;
}

TEST(Tokenizer, ClassesInClassesAreRead) {
  // BLOOM's: neither a space nor a sign of the inner class, so that the comma parts "ab" from "c".
  EXPECT_EQ(parse(split_by(R"( ?[^(\s|[.,!?\u2026])]+)")).encode("abc", false), Ids{7});
  EXPECT_EQ(parse(split_by("[a[bc]]+")).encode("abc", false), Ids{7});
  EXPECT_EQ(parse(split_by("[[ab]c&&[^c]]+")).encode("abc", false), (Ids{6, 2}));
  EXPECT_EQ(parse(split_by("[a-c&&[^b]]")).encode("abc", false), (Ids{0, 1, 2}));
  EXPECT_EQ(parse(split_by(R"([\p{Latin}&&[^b]])")).encode("abc", false), (Ids{0, 1, 2}));
}

TEST(Tokenizer, StepsBehindByteLevelSeeItsAlphabet) {
  Json json = small_tokenizer();
  const Json byte_level = json["pre_tokenizer"];
  // The space is spelled as a letter there, so that nothing is left to split at.
  json["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers", {byte_level, {{"type", "WhitespaceSplit"}}}}};
  EXPECT_EQ(parse(json).encode("ab a", false), (Ids{6, 8}));
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {byte_level,
        {{"type", "Split"}, {"pattern", {{"String", "\u0120"}}}, {"behavior", "Isolated"}}}}};
  EXPECT_EQ(parse(json).encode("ab a", false), (Ids{6, 5, 0}));
}

TEST(Tokenizer, TruncationAndPaddingAreLeftAside) {
  Json json = small_tokenizer();
  json["truncation"] = {{"max_length", 1}, {"stride", 0}};
  json["padding"] = {{"strategy", "BatchLongest"}};
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(parse(json).encode("abcab", false), (Ids{7, 6}));
  EXPECT_EQ(parse(json).encode("abcab", false), (Ids{7, 6}));
  const std::string said = ::testing::internal::GetCapturedStderr();
  for (const char* part : {"\"truncation\" is left aside", "\"padding\" is left aside"}) {
    const std::size_t first = said.find(part);
    EXPECT_NE(first, std::string::npos) << said;
    EXPECT_EQ(said.find(part, first + 1), std::string::npos) << said;  // once
  }
}

/// Pieces of a, b, c, and the longer ones that Kudo's example has, as T5 writes its file.
Json small_unigram() {
  return Json::parse(R"({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true}],
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": true},
    "decoder": {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": true},
    "model": {"unk_id": 0, "vocab": [["<unk>", 0.0], ["\u2581", -2.0], ["a", -3.0], ["b", -3.0],
      ["c", -3.0], ["ab", -4.0], ["bc", -3.5], ["\u2581a", -3.5], ["<0xC3>", -9.0],
      ["<0xA9>", -9.0]]}})");
}

TEST(Unigram, TheBestSumWins) {
  const Tokenizer t = parse(small_unigram());
  // _a bc (-7) before _ ab c (-9) and _ a bc (-8.5).
  EXPECT_EQ(t.encode("abc", false), (Ids{7, 6}));
  EXPECT_EQ(t.encode("abc  b", false), (Ids{7, 6, 1, 1, 3}));
  EXPECT_EQ(t.decode(Ids{7, 6, 1, 3}, true), "abc b");
  EXPECT_EQ(t.vocab_size(), 10);
  EXPECT_EQ(t.token_to_id("bc"), 6);
}

TEST(Unigram, UnknownCharactersInARowAreOneToken) {
  const Tokenizer t = parse(small_unigram());
  EXPECT_EQ(t.encode("a\xC3\xA9\xC3\xA9z"
                     "b",
                     false),
            (Ids{7, 0, 3}));
  EXPECT_EQ(t.kind(0), TokenKind::kUnknown);
  Json json = small_unigram();
  json["model"]["byte_fallback"] = true;
  const Tokenizer bytes = parse(json);
  EXPECT_EQ(bytes.encode("a\xC3\xA9"
                         "b",
                         false),
            (Ids{7, 8, 9, 3}));
  EXPECT_EQ(bytes.kind(8), TokenKind::kByte);
  json["model"].erase("unk_id");
  EXPECT_THROW((void)parse(json).encode("az", false), Error);
}

TEST(Unigram, BrokenVocabulariesAreRefused) {
  Json json = small_unigram();
  json["model"]["unk_id"] = 10;
  expect_error(json.dump(), ErrorCode::kCorrupt, "unk_id 10 of 10 pieces");
  json = small_unigram();
  json["model"]["vocab"][3] = {"b"};
  expect_error(json.dump(), ErrorCode::kCorrupt, "entry 3: expected [piece, score]");
  json = small_unigram();
  json["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "AAA="}};
  expect_error(json.dump(), ErrorCode::kCorrupt, "precompiled_charsmap");
  json["normalizer"]["precompiled_charsmap"] = "%%%";
  expect_error(json.dump(), ErrorCode::kCorrupt, "no character of base64");
}

TEST(TokenSpans, SayWhichBytesATokenStandsFor) {
  const auto spans = [](const Tokenizer& t, const std::string& text) {
    std::vector<std::vector<std::uint32_t>> out;
    for (const TokenSpan& token : t.encode_spans(text, false)) {
      out.push_back({static_cast<std::uint32_t>(token.id), token.begin, token.end});
    }
    return out;
  };
  using Spans = std::vector<std::vector<std::uint32_t>>;
  EXPECT_EQ(spans(parse(small_tokenizer()), "ab<x> abc"),
            (Spans{{6, 0, 2}, {9, 2, 5}, {5, 5, 6}, {7, 6, 9}}));
  Json json = small_unigram();
  json["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", {{{"type", "Lowercase"}}, {{"type", "NFC"}}}}};
  // What was put in front stands for nothing; unknown characters are one token.
  EXPECT_EQ(spans(parse(json), "bBc e\xCC\x81z"),
            (Spans{{1, 0, 0}, {3, 0, 1}, {6, 1, 3}, {1, 3, 4}, {0, 4, 8}}));
}

TEST(Tokenizer, HostileJsonIsRefused) {
  const auto corrupt = ErrorCode::kCorrupt;
  expect_error("", corrupt, "not valid JSON");
  expect_error("{\"model\": \"\xFF\"}", corrupt, "not valid JSON");
  expect_error("[1]", corrupt, "expected a JSON object, got array");
  expect_error("{}", corrupt, "'model' is missing");
  expect_error(std::string(200000, '['), corrupt, "not valid JSON");
  expect_error_with("/model/vocab", "[1, 2]", corrupt, "model vocab: expected a JSON object");
  expect_error_with("/model/vocab/a", "1", corrupt, "id 1 belongs to another token, too");
  expect_error_with("/model/vocab/a", "-1", corrupt, "negative");
  expect_error_with("/model/vocab/a", "1.5", corrupt, "expected an id");
  expect_error_with("/model/vocab/a", "99999999999", ErrorCode::kUnsupported, "is over");
  expect_error_with("/model/merges/0", R"("ab")", corrupt, "entry 0 'ab'");
  expect_error_with("/model/merges/0", R"("a b c")", corrupt, "entry 0 'a b c'");
  expect_error_with("/model/merges/0", R"("a z")", corrupt, "'z' is not in the vocabulary");
  expect_error_with("/model/merges/0", R"("a d")", corrupt, "'ad' is not in the vocabulary");
  expect_error_with("/model/merges/0", "{}", corrupt, "entry 0");
  expect_error_with("/model/unk_token", R"("<u>")", corrupt, "unk_token '<u>'");
  expect_error_with("/added_tokens/0/id", "1", ErrorCode::kUnsupported, "would give it 9");
  expect_error_with("/added_tokens/0/id", "12", ErrorCode::kUnsupported, "would give it 9");
  expect_error_with("/model/vocab/a", "9", corrupt, "id 9 belongs to 'a'");
  expect_error_with("/added_tokens/0/content", R"("a")", corrupt, "in the model's vocabulary");
  expect_error_with("/added_tokens/0/special", "3", corrupt, "expected true or false");
  expect_error_with("/pre_tokenizer", "5", corrupt, "expected a JSON object");
  std::string nested = R"({"type": "NFC"})";
  for (int i = 0; i < 40; ++i) {
    nested = R"({"type": "Sequence", "normalizers": [)" + nested + "]}";
  }
  expect_error_with("/normalizer", nested, ErrorCode::kUnsupported, "nested over 16 deep");
}

TEST(Tokenizer, LoneSentencePieceModelIsRefusedWithWhatToDo) {
  const testing::TemporaryDirectory dir;
  EXPECT_THROW((void)Tokenizer::load(dir.path()), Error);
  std::ofstream(dir.path() / "tokenizer.model") << "x";
  for (const auto& path : {dir.path(), dir.path() / "tokenizer.model"}) {
    try {
      (void)Tokenizer::load(path);
      ADD_FAILURE() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string(e.what()).find("save_pretrained"), std::string::npos) << e.what();
    }
  }
}

TEST(Tokenizer, IdToTokenNamesAnUnknownId) {
  const Tokenizer t = parse(small_tokenizer());
  EXPECT_THROW((void)t.id_to_token(10), Error);
  EXPECT_THROW((void)t.id_to_token(-1), Error);
}

/// Cases of a fixture file: for each line its text and the ids of one tokenizer.
void check_fixture(const std::filesystem::path& data, const char* file, const char* tokenizer,
                   const char* field, int at_least) {
  const Tokenizer t = Tokenizer::load(data / "tokenizers" / tokenizer);
  std::ifstream in(data / "tokenizers/fixtures" / file);
  int cases = 0;
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line);
    if (json.contains(field) && json[field].is_array()) {
      const auto text = json["text"].get<std::string>();
      EXPECT_EQ(t.encode(text, false), json[field].get<Ids>()) << tokenizer << ": " << line;
      ++cases;
    }
  }
  EXPECT_GE(cases, at_least) << file << ' ' << field;
}

TEST(TokenizerFixtures, IdsOfIndependentImplementations) {
  GM_REQUIRE_SHARED_DATA(data);
  check_fixture(data, "llamacpp_cases.jsonl", "gpt2", "gpt2", 44);
  check_fixture(data, "llamacpp_cases.jsonl", "phi3_mini_spm", "phi3_no_bos", 33);
  check_fixture(data, "multilingual_cases.jsonl", "gpt2", "gpt2", 17);
  check_fixture(data, "multilingual_cases.jsonl", "smollm2", "smollm2", 17);
  check_fixture(data, "multilingual_cases.jsonl", "phi3_mini_spm", "phi3_no_bos", 17);
}

TEST(TokenizerFixtures, ThreadsShareATokenizer) {
  GM_REQUIRE_SHARED_DATA(data);
  const Tokenizer t = Tokenizer::load(data / "models/stories260K");
  const std::string text = "Once upon a time, there was a little girl named Lily.";
  const Ids expected = t.encode(text, true);
  EXPECT_EQ(expected.front(), 1);
  std::vector<std::thread> threads;
  std::vector<int> equal(4, 0);
  for (std::size_t i = 0; i < equal.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 200; ++n) {
        equal[i] += t.encode(text, true) == expected ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(equal, std::vector<int>(4, 200));
}

}  // namespace
}  // namespace growmerge
