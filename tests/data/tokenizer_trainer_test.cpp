#include "data/tokenizer_trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/tokenizer/tokenizer.h"
#include "data/bpe_trainer.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

TextSource source_of(std::vector<std::string> texts) {
  return [texts = std::move(texts), i = std::size_t{0}](std::string& text) mutable {
    if (i == texts.size()) {
      return false;
    }
    text = texts[i++];
    return true;
  };
}

std::vector<std::string> some_texts() {
  return {"low lower lowest, newer newest 2024\n", "the widest and the newest: w\xC3\xA4 2024 2025",
          "slow slower slowest; it's low, it's new", "the the the low low new"};
}

TokenizerTrainConfig small_config() {
  TokenizerTrainConfig config;
  config.vocab_size = 270;
  return config;
}

std::string error_of(const TokenizerTrainConfig& config, std::vector<std::string> texts) {
  try {
    (void)train_tokenizer(config, source_of(std::move(texts)));
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(BpeTrainer, MostFrequentPairFirstThenTheSmallestIds) {
  // aab x 3, bab x 2: pairs aa 3, ab 5, ba 2. Then (a, ab) 3 before (b, ab) 2.
  const LearnedMerges learned =
      learn_merges({{{0, 0, 1}, 3}, {{1, 0, 1}, 2}}, {"a", "b"}, 0, 10, 1, [](std::int64_t) {});
  EXPECT_EQ(learned.tokens, (std::vector<std::string>{"a", "b", "ab", "aab", "bab"}));
  EXPECT_EQ(learned.merges,
            (std::vector<std::pair<std::int32_t, std::int32_t>>{{0, 1}, {0, 2}, {1, 2}}));
}

TEST(BpeTrainer, TiesGoToSmallerIds) {
  const LearnedMerges learned =
      learn_merges({{{1, 2}, 4}, {{0, 2}, 4}}, {"a", "b", "c"}, 0, 10, 1, [](std::int64_t) {});
  EXPECT_EQ(learned.tokens[3], "ac");
  EXPECT_EQ(learned.tokens[4], "bc");
}

TEST(BpeTrainer, StopsAtMinFrequencyAndAtVocabSize) {
  const std::vector<CountedWord> words = {{{0, 1}, 5}, {{1, 2}, 2}};
  EXPECT_EQ(learn_merges(words, {"a", "b", "c"}, 0, 10, 3, [](std::int64_t) {}).merges.size(), 1U);
  EXPECT_EQ(learn_merges(words, {"a", "b", "c"}, 0, 10, 2, [](std::int64_t) {}).merges.size(), 2U);
  EXPECT_EQ(learn_merges(words, {"a", "b", "c"}, 0, 4, 1, [](std::int64_t) {}).merges.size(), 1U);
}

TEST(BpeTrainer, NoMergeSpellsAReservedToken) {
  const LearnedMerges learned =
      learn_merges({{{1, 2}, 5}}, {"ab", "a", "b"}, 1, 10, 1, [](std::int64_t) {});
  EXPECT_TRUE(learned.merges.empty());
}

TEST(TokenizerTrainer, TextsRoundTripWithBosInFront) {
  const TrainedTokenizer trained = train_tokenizer(small_config(), source_of(some_texts()));
  EXPECT_EQ(trained.summary.vocab_size, 270);
  EXPECT_EQ(trained.summary.documents, 4);
  const Tokenizer tokenizer = Tokenizer::parse(trained.tokenizer_json, "trained");
  EXPECT_EQ(tokenizer.vocab_size(), 270);
  EXPECT_EQ(tokenizer.token_to_id("<|begin_of_text|>"), 0);
  EXPECT_EQ(tokenizer.token_to_id("<|end_of_text|>"), 1);
  for (const std::string text :
       {"lowest newest\t\xF0\x9F\x99\x82 1234", "never seen: \xE6\xBC\xA2"}) {
    const std::vector<std::int32_t> ids = tokenizer.encode(text, true);
    EXPECT_EQ(ids.front(), 0);
    EXPECT_EQ(tokenizer.decode(ids, true), text);
  }
  // " low" is frequent, so it is one token behind BOS; digits stay alone.
  EXPECT_EQ(tokenizer.encode(" low", true).size(), 2U);
  EXPECT_EQ(tokenizer.encode("2024", false).size(), 4U);
}

TEST(TokenizerTrainer, DigitsMergeWhenNotSplit) {
  TokenizerTrainConfig config = small_config();
  config.split_digits = false;
  config.vocab_size = 400;
  const TrainedTokenizer trained = train_tokenizer(config, source_of(some_texts()));
  EXPECT_LT(Tokenizer::parse(trained.tokenizer_json, "trained").encode("2024", false).size(), 4U);
}

TEST(TokenizerTrainer, WithoutBosNothingStandsInFront) {
  TokenizerTrainConfig config = small_config();
  config.bos_token = std::nullopt;
  const TrainedTokenizer trained = train_tokenizer(config, source_of(some_texts()));
  const Tokenizer tokenizer = Tokenizer::parse(trained.tokenizer_json, "trained");
  EXPECT_EQ(tokenizer.token_to_id("<|end_of_text|>"), 0);
  EXPECT_EQ(tokenizer.encode("low new", true), tokenizer.encode("low new", false));
  EXPECT_EQ(trained.tokenizer_config_json.find("bos_token"), std::string::npos);
}

TEST(TokenizerTrainer, SpecialTokensInTextStayWhole) {
  TokenizerTrainConfig config = small_config();
  config.special_tokens = {"<|sep|>"};
  const std::vector<std::string> apart = {"new new", " low low", "new"};
  const std::string joined = "new new<|sep|> low low<|sep|>new";
  // Nothing is learned from them, nor across them.
  EXPECT_EQ(train_tokenizer(config, source_of({joined})).tokenizer_json,
            train_tokenizer(config, source_of(apart)).tokenizer_json);
}

TEST(TokenizerTrainer, ByteFallbackSpellsRareCharacters) {
  TokenizerTrainConfig config = small_config();
  config.byte_fallback = true;
  config.bos_token = std::nullopt;
  config.vocab_size = 400;
  config.character_coverage = 0.98;
  const TrainedTokenizer trained = train_tokenizer(config, source_of(some_texts()));
  const Tokenizer tokenizer = Tokenizer::parse(trained.tokenizer_json, "trained");
  EXPECT_EQ(tokenizer.token_to_id("<0x00>"), 1);
  // The one a-umlaut is beyond the coverage, and the Han character was never seen.
  EXPECT_EQ(tokenizer.encode("\xC3\xA4", false), (std::vector<std::int32_t>{1 + 0xC3, 1 + 0xA4}));
  EXPECT_EQ(tokenizer.encode(" low", false).size(), 1U);
  EXPECT_EQ(tokenizer.encode("2024", false).size(), 4U);
  for (const std::string text : {" lowest  newest", "\xE6\xBC\xA2 2024 low"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, true), false), text);
  }
  config.vocab_size = 260;
  EXPECT_NE(error_of(config, some_texts()).find("lower character_coverage"), std::string::npos);
  config.character_coverage = 0.0;
  EXPECT_NE(error_of(config, some_texts()).find("character_coverage: expected over 0"),
            std::string::npos);
}

TEST(TokenizerTrainer, OrderOfDocumentsDoesNotMatter) {
  std::vector<std::string> texts = some_texts();
  const std::string forward = train_tokenizer(small_config(), source_of(texts)).tokenizer_json;
  std::reverse(texts.begin(), texts.end());
  EXPECT_EQ(forward, train_tokenizer(small_config(), source_of(texts)).tokenizer_json);
}

TEST(TokenizerTrainer, ReadsInputsAndWritesBothFiles) {
  const growmerge::testing::TemporaryDirectory dir;
  std::ofstream(dir.path() / "a.jsonl") << R"({"id": "1", "text": "one one one two"})" << '\n';
  std::ofstream(dir.path() / "b.txt") << "two two three";
  TokenizerTrainConfig config = small_config();
  config.inputs.resize(2);
  config.inputs[0].path = (dir.path() / "a.jsonl").string();
  config.inputs[1].path = (dir.path() / "b.txt").string();
  const TokenizerTrainSummary summary = train_tokenizer(config, dir.path());
  EXPECT_EQ(summary.documents, 2);
  EXPECT_EQ(summary.bytes, 15 + 13);
  EXPECT_LT(summary.vocab_size, 270);  // too little text: fewer tokens than asked for
  EXPECT_EQ(Tokenizer::load(dir.path()).vocab_size(), summary.vocab_size);
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "tokenizer_config.json"));
}

TEST(TokenizerTrainer, ErrorsNameTheField) {
  TokenizerTrainConfig config = small_config();
  config.vocab_size = 257;
  EXPECT_EQ(error_of(config, some_texts()),
            "vocab_size: expected 258 (256 bytes and 2 special tokens) to 1048576, got 257");
  config = small_config();
  config.eos_token = *config.bos_token;
  EXPECT_EQ(error_of(config, some_texts()), "special token '<|begin_of_text|>' is there twice");
  config = small_config();
  config.special_tokens = {"x"};
  EXPECT_EQ(error_of(config, some_texts()), "special token 'x': expected at least 2 characters");
  EXPECT_EQ(error_of(small_config(), {}),
            "training a tokenizer: the inputs hold no text (0 documents)");
  EXPECT_EQ(error_of(small_config(), {"ab\xFFz"}),
            "text to train a tokenizer on is not valid UTF-8 at byte 2 of 4");
  config = small_config();
  config.min_frequency = 0;
  EXPECT_EQ(error_of(config, some_texts()), "min_frequency: expected at least 1, got 0");
}

}  // namespace
}  // namespace growmerge::data
