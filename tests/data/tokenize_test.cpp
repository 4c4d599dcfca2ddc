#include "data/tokenize.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/contracts/communicator.h"
#include "core/tokenizer/tokenizer.h"
#include "data/token_shard.h"
#include "data/utf8.h"
#include "tests/data/text_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

TokenizeConfig config_of(const std::vector<std::pair<std::string, std::filesystem::path>>& inputs) {
  TokenizeConfig config;
  for (const auto& [language, path] : inputs) {
    TextInput input;
    input.path = path.string();
    input.language = language;
    config.inputs.push_back(input);
  }
  return config;
}

std::filesystem::path made(const std::filesystem::path& dir) {
  std::filesystem::create_directories(dir);
  return dir;
}

TEST(Tokenize, ShardsHoldTheDocumentsInInputOrder) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "in/a.jsonl", json_lines(2000, "en"));  // several chunks
  write_text(dir.path() / "in/b.jsonl.gz", gzip_bytes("{\"text\": \"\"}\n" + json_lines(5, "x")));
  write_text(dir.path() / "sv.txt", "hej\n");
  const TokenizeConfig config =
      config_of({{"en", dir.path() / "in"}, {"sv", dir.path() / "sv.txt"}});
  const auto comm = make_single_process_communicator();
  const auto out = made(dir.path() / "out");
  const TokenizeSummary summary = tokenize_text(config, byte_encoder(), out, *comm, 3);
  ASSERT_EQ(summary.languages.size(), 2u);
  EXPECT_EQ(summary.languages[0].documents, 2005u);
  EXPECT_EQ(summary.languages[0].empty_documents, 1u);
  const TokenShard english = TokenShard::open(out / "en.h5");
  english.verify();
  EXPECT_EQ(english.info().sources, (dir.path() / "in").string());
  DocumentReader reader(config.inputs[0]);
  std::uint64_t document = 0;
  std::uint64_t bytes = 0;
  std::uint64_t characters = 0;
  while (const auto next = reader.next()) {
    if (next->text.empty()) {
      continue;
    }
    const auto tokens = byte_encoder().encode(next->text);
    ASSERT_EQ(english.document(document),
              (std::vector<std::int64_t>(tokens.begin(), tokens.end())));
    ASSERT_EQ(english.document_bytes(document), next->text.size());
    bytes += next->text.size();
    characters += count_code_points(next->text);
    ++document;
  }
  EXPECT_EQ(document, english.num_documents());
  EXPECT_EQ(english.info().num_bytes, bytes);
  EXPECT_EQ(english.info().num_characters, characters);
  EXPECT_EQ(english.info().bos_id, 1);
  EXPECT_EQ(TokenShard::open(out / "sv.h5").document(0),
            (std::vector<std::int64_t>{1, 'h' + 2, 'e' + 2, 'j' + 2, '\n' + 2, 0}));

  const auto json = nlohmann::json::parse(read_text(out / "summary.json"));
  EXPECT_EQ(json["languages"]["en"]["tokens"], english.num_tokens());
  EXPECT_EQ(json["languages"]["en"]["bytes"], bytes);
  EXPECT_EQ(json["document"], "BOS tokens EOS");
  for (const auto& entry : std::filesystem::directory_iterator(out)) {
    EXPECT_NE(entry.path().extension(), ".spill");
  }
}

TEST(Tokenize, ThreadsDoNotChangeTheBytes) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.jsonl", json_lines(3000, "en"));
  const TokenizeConfig config = config_of({{"en", dir.path() / "a.jsonl"}});
  const auto comm = make_single_process_communicator();
  (void)tokenize_text(config, byte_encoder(), made(dir.path() / "one"), *comm, 1);
  (void)tokenize_text(config, byte_encoder(), made(dir.path() / "five"), *comm, 5);
  EXPECT_EQ(read_text(dir.path() / "one/en.h5"), read_text(dir.path() / "five/en.h5"));
  EXPECT_EQ(read_text(dir.path() / "one/summary.json"),
            read_text(dir.path() / "five/summary.json"));
}

TEST(Tokenize, BadTextIsNamedAndNothingIsSealed) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.jsonl", json_lines(2000, "en") + "{\"text\": 3}\n");
  const TokenizeConfig config = config_of({{"en", dir.path() / "a.jsonl"}});
  const auto comm = make_single_process_communicator();
  const auto out = made(dir.path() / "out");
  EXPECT_NE(testing::error_of(ErrorCode::kCorrupt,
                              [&] { (void)tokenize_text(config, byte_encoder(), out, *comm, 2); })
                .find("a.jsonl:2001: field 'text' must be a string"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(out));
}

TEST(Tokenize, ALanguageWithoutTextIsRefused) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.jsonl", "\n{\"text\": \"\"}\n");
  const auto comm = make_single_process_communicator();
  EXPECT_NE(testing::error_of(ErrorCode::kInvalidArgument,
                              [&] {
                                (void)tokenize_text(config_of({{"en", dir.path() / "a.jsonl"}}),
                                                    byte_encoder(), made(dir.path() / "out"), *comm,
                                                    1);
                              })
                .find("language 'en': its inputs hold no text (1 empty documents)"),
            std::string::npos);
}

TEST(Tokenize, EosIsWhatTheFilesBesideTheTokenizerName) {
  const testing::TemporaryDirectory dir;
  const Tokenizer tokenizer = Tokenizer::parse(
      R"({"normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
          "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "</s>": 2, "<end>": 3}, "merges": []},
          "added_tokens": [{"id": 2, "content": "</s>", "special": true, "single_word": false,
                            "lstrip": false, "rstrip": false, "normalized": false},
                           {"id": 3, "content": "<end>", "special": true, "single_word": false,
                            "lstrip": false, "rstrip": false, "normalized": false}]})",
      "test");
  const auto path = dir.path() / "tokenizer.json";
  EXPECT_NE(testing::error_of(ErrorCode::kNotFound, [&] { (void)find_eos_id(tokenizer, path, {}); })
                .find("give `eos_token`"),
            std::string::npos);
  write_text(dir.path() / "config.json", R"({"eos_token_id": [3, 2]})");
  EXPECT_EQ(find_eos_id(tokenizer, path, {}), 3);
  write_text(dir.path() / "generation_config.json", R"({"eos_token_id": 2})");
  EXPECT_EQ(find_eos_id(tokenizer, dir.path(), {}), 2);
  write_text(dir.path() / "tokenizer_config.json", R"({"eos_token": {"content": "<end>"}})");
  EXPECT_EQ(find_eos_id(tokenizer, path, {}), 3);
  EXPECT_EQ(find_eos_id(tokenizer, path, "</s>"), 2);
  EXPECT_NE(
      testing::error_of(ErrorCode::kNotFound, [&] { (void)find_eos_id(tokenizer, path, "<x>"); })
          .find("'<x>' is not in the tokenizer's vocabulary"),
      std::string::npos);
  const DocumentEncoder encoder = make_document_encoder(tokenizer, 2);
  EXPECT_EQ(encoder.bos_id, -1);
  EXPECT_EQ(encoder.encode("ab"), (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(Tokenize, StoriesTokenizerGivesBosTokensEos) {
  GM_REQUIRE_SHARED_DATA(data);
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.txt", "Once upon a time");
  TokenizeConfig config = config_of({{"en", dir.path() / "a.txt"}});
  config.tokenizer = (data / "models/stories260K").string();
  const auto comm = make_single_process_communicator();
  const auto out = made(dir.path() / "out");
  const TokenizeSummary summary = tokenize(config, out, *comm, 1);
  EXPECT_EQ(summary.bos_id, 1);
  EXPECT_EQ(summary.eos_id, 2);
  const Tokenizer tokenizer = Tokenizer::load(config.tokenizer);
  const TokenShard shard = TokenShard::open(out / "en.h5");
  shard.verify();
  EXPECT_EQ(shard.info().tokenizer_hash, tokenizer.hash());
  const std::vector<std::int32_t> bare = tokenizer.encode("Once upon a time", false);
  std::vector<std::int64_t> expected{1};
  expected.insert(expected.end(), bare.begin(), bare.end());
  expected.push_back(2);
  EXPECT_EQ(shard.document(0), expected);
  EXPECT_EQ(read_text(out / "tokenizer.json"),
            read_text(data / "models/stories260K/tokenizer.json"));
}

TEST(Tokenize, AGivenEndOfDocumentIsCarriedAlong) {
  GM_REQUIRE_SHARED_DATA(data);
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "a.txt", "Once");
  TokenizeConfig config = config_of({{"en", dir.path() / "a.txt"}});
  config.tokenizer = (data / "tokenizers/gpt2/tokenizer.json").string();
  config.eos_token = "<|endoftext|>";
  const auto comm = make_single_process_communicator();
  const auto out = made(dir.path() / "out");
  const TokenizeSummary summary = tokenize(config, out, *comm, 1);
  EXPECT_EQ(find_eos_id(Tokenizer::load(out), out, {}), summary.eos_id);
}

TEST(Tokenize, ConfigIsChecked) {
  TokenizeConfig config;
  EXPECT_THROW(config.validate(), Error);
  config.tokenizer = "tokenizer.json";
  EXPECT_THROW(config.validate(), Error);
  config.inputs.push_back({"a.txt", "en"});
  config.validate();
  config.inputs[0].language = "../en";
  EXPECT_NE(
      testing::error_of(ErrorCode::kInvalidArgument, [&] { config.validate(); }).find("'../en'"),
      std::string::npos);
}

TEST(Tokenize, PlanListsWhatIsRead) {
  const testing::TemporaryDirectory dir;
  write_text(dir.path() / "in/a.txt", "12345");
  write_text(dir.path() / "in/b.txt", "1");
  TokenizeConfig config = config_of({{"en", dir.path() / "in"}});
  config.tokenizer = "t";
  const TokenizePlan plan = plan_tokenize(config);
  ASSERT_EQ(plan.files.size(), 2u);
  EXPECT_EQ(plan.files[0].path, dir.path() / "in/a.txt");
  EXPECT_EQ(plan.files[0].bytes, 5u);
}

}  // namespace
}  // namespace growmerge::data
