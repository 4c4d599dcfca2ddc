#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/base/white_space.h"
#include "core/transformer/transformer.h"
#include "eval/bits_per_byte.h"
#include "eval/choice_scorer.h"
#include "eval/encode.h"
#include "tests/eval/thread_ranks.h"
#include "tests/eval/toy_model.h"
#include "tests/support/expect_error.h"

namespace growmerge::eval {
namespace {

using ::growmerge::testing::ThreadRanks;
using ::growmerge::testing::toy_model;
using ::growmerge::testing::toy_tokenizer;

/// log p of every token but the first, one sentence alone, by float64 softmax of its logits.
std::vector<double> naive_log_probs(const Model& model, const std::vector<std::int32_t>& tokens) {
  const std::vector<std::int64_t> wide(tokens.begin(), tokens.end() - 1);
  const std::vector<std::int32_t> starts = {0, static_cast<std::int32_t>(wide.size())};
  const at::Tensor hidden =
      hidden_states(model.config, model.params, at::tensor(wide, at::kLong), starts);
  const at::Tensor log_probs =
      head_logits(model.config, model.params, hidden).to(at::kDouble).log_softmax(-1).contiguous();
  std::vector<double> result;
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    result.push_back(log_probs[static_cast<std::int64_t>(i) - 1][tokens[i]].item<double>());
  }
  return result;
}

double sum_from(const std::vector<double>& log_probs, std::size_t first) {
  double sum = 0.0;
  for (std::size_t i = first; i < log_probs.size(); ++i) {
    sum += log_probs[i];
  }
  return sum;
}

Task random_task(std::int64_t count, std::uint64_t seed) {
  const Philox random(seed, stream_id("test/pairs"));
  Task task;
  task.name = "toy";
  std::uint64_t draw = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    Item item{.id = std::to_string(i),
              .paradigm = "",
              .phenomenon = i % 2 == 0 ? "A" : "B",
              .cluster = std::to_string(i / 3),
              .context = "",
              .choices = {"", ""},
              .gold = 0};
    for (std::string* text : {&item.choices[0], &item.choices[1]}) {
      const std::uint64_t length = 1 + random.below(draw++, 20);
      for (std::uint64_t k = 0; k < length; ++k) {
        *text += static_cast<char>('!' + random.below(draw++, 94));
      }
    }
    task.items.push_back(item);
  }
  task.items[3].choices[1] = task.items[3].choices[0];
  task.num_identical = 1;
  return task;
}

std::vector<ItemRecord> score(const Model& model, const Task& task, const ScoringRules& rules,
                              std::int64_t context, std::int64_t batch_tokens, Communicator& comm) {
  const Tokenizer tokenizer = toy_tokenizer();
  const EncodedTexts encoded = encode_choices(task, rules, tokenizer, comm);
  return score_choices(model, task, encoded, rules, context, {.batch_tokens = batch_tokens}, comm);
}

std::vector<std::int32_t> with_bos(const std::string& text) {
  std::vector<std::int32_t> tokens = {1};
  const auto ids = toy_tokenizer().encode(text, false);
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  return tokens;
}

TEST(PairScorer, PackedBatchesEqualOneSentenceAlone) {
  const Model model = toy_model(1);
  const Task task = random_task(40, 1);
  const auto comm = make_single_process_communicator();
  const auto records = score(model, task, {}, 64, 50, *comm);
  ASSERT_EQ(records.size(), 40U);
  for (std::size_t i = 0; i < records.size(); ++i) {
    const std::string* texts[2] = {&task.items[i].choices[0], &task.items[i].choices[1]};
    for (std::size_t c = 0; c < 2; ++c) {
      const auto expected = naive_log_probs(model, with_bos(*texts[c]));
      EXPECT_NEAR(records[i].log_prob[c], sum_from(expected, 0), 1e-4) << i;
      EXPECT_EQ(records[i].tokens[c], static_cast<std::int64_t>(expected.size()));
      EXPECT_EQ(records[i].bytes[c], static_cast<std::int64_t>(texts[c]->size()));
    }
    EXPECT_EQ(records[i].correct, records[i].log_prob[0] > records[i].log_prob[1]);
  }
}

TEST(ScoreSums, SharedBeginningsGiveWhatEachSequenceGivesAlone) {
  const Model model = toy_model(3);
  const Philox random(5, stream_id("test/beginnings"));
  std::vector<ScoreRequest> requests;
  std::uint64_t draw = 0;
  for (int i = 0; i < 80; ++i) {
    ScoreRequest request;
    if (i % 5 != 0) {  // goes on from an earlier one, from its whole or from a part
      const auto& from = requests[random.below(draw++, requests.size())].tokens;
      request.tokens.assign(
          from.begin(),
          from.begin() + 1 + static_cast<std::ptrdiff_t>(random.below(draw++, from.size())));
    }
    const std::uint64_t more = random.below(draw++, 4) + (request.tokens.size() < 2 ? 2 : 0);
    for (std::uint64_t k = 0; k < more; ++k) {
      request.tokens.push_back(1 + static_cast<std::int32_t>(random.below(draw++, 6)));
    }
    request.first_scored =
        1 + static_cast<std::int64_t>(random.below(draw++, request.tokens.size()));
    requests.push_back(request);
  }
  const auto comm = make_single_process_communicator();
  const auto name = [](std::int64_t i) { return std::to_string(i); };
  std::vector<double> alone;
  for (const ScoreRequest& request : requests) {
    alone.push_back(score_sums(model, {request}, name, {}, *comm)[0]);
  }
  for (const std::int64_t batch_tokens : {1, 7, 40, 100'000}) {
    const auto sums = score_sums(model, requests, name, {.batch_tokens = batch_tokens}, *comm);
    std::size_t batched = 0;
    for (const auto& batch : make_batches(requests, batch_tokens)) {
      batched += batch.size();
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const bool scores =
          static_cast<std::int64_t>(requests[i].tokens.size()) > requests[i].first_scored;
      batched -= scores ? 1 : 0;
      const double expected = scores ? alone[i] : 0.0;
      EXPECT_NEAR(sums[i], expected, 1e-5) << i << ", batches of " << batch_tokens;
      EXPECT_TRUE(batch_tokens > 1 || sums[i] == expected) << i << ": other bits by itself";
    }
    EXPECT_EQ(batched, 0U) << "every sequence that scores something is in one batch";
  }
}

TEST(PairScorer, BatchSizeAndOrderChangeNoDecision) {
  const Model model = toy_model(2);
  const Task task = random_task(60, 2);
  Task reversed = task;
  std::reverse(reversed.items.begin(), reversed.items.end());
  const auto comm = make_single_process_communicator();
  const auto one = score(model, task, {}, 64, 1, *comm);
  const auto many = score(model, task, {}, 64, 100'000, *comm);
  const auto backwards = score(model, reversed, {}, 64, 70, *comm);
  for (std::size_t i = 0; i < one.size(); ++i) {
    const ItemRecord& other = backwards[one.size() - 1 - i];
    for (std::size_t c = 0; c < 2; ++c) {
      EXPECT_NEAR(one[i].log_prob[c], many[i].log_prob[c], 1e-4);
      EXPECT_NEAR(one[i].log_prob[c], other.log_prob[c], 1e-4);
    }
    ASSERT_TRUE(one[i].tie || std::abs(one[i].log_prob[0] - one[i].log_prob[1]) > 1e-3);
    EXPECT_EQ(one[i].correct, many[i].correct);
    EXPECT_EQ(one[i].correct, other.correct);
    EXPECT_EQ(one[i].tie, i == 3);
  }
}

TEST(PairScorer, AnyNumberOfRanksGivesTheSameBits) {
  const Model model = toy_model(3);
  const Task task = random_task(50, 3);
  const auto alone = make_single_process_communicator();
  const auto expected = score(model, task, {}, 10, 40, *alone);
  for (const int size : {2, 4}) {
    std::vector<std::vector<ItemRecord>> results(static_cast<std::size_t>(size));
    ThreadRanks(size).run([&](Communicator& comm) {
      ASSERT_GT(comm.size(), 1);
      results[static_cast<std::size_t>(comm.rank())] = score(model, task, {}, 10, 40, comm);
    });
    for (const auto& result : results) {
      EXPECT_TRUE(result == expected) << size << " ranks";
    }
  }
}

TEST(PairScorer, RulesDoWhatTheySay) {
  const Model model = toy_model(4);
  Task task = random_task(4, 4);
  task.items[0].choices[0] = "ab";
  task.items[0].choices[1] = "cd";
  const auto comm = make_single_process_communicator();
  const auto alone = naive_log_probs(model, with_bos("ab"));

  ScoringRules rules;
  rules.first_token = "free";
  auto records = score(model, task, rules, 64, 100, *comm);
  EXPECT_NEAR(records[0].log_prob[0], alone[1], 1e-5);
  EXPECT_EQ(records[0].tokens[0], 1);

  rules.prefix = "none";  // nothing before the sentence
  records = score(model, task, rules, 64, 100, *comm);
  EXPECT_NEAR(records[0].log_prob[0],
              naive_log_probs(model, toy_tokenizer().encode("ab", false))[0], 1e-5);

  rules = {};
  rules.prefix = "eos";
  records = score(model, task, rules, 64, 100, *comm);
  auto tokens = with_bos("ab");
  tokens[0] = 2;
  EXPECT_NEAR(records[0].log_prob[0], sum_from(naive_log_probs(model, tokens), 0), 1e-5);

  rules = resolve_rules("lm-eval", "blimp", {});
  records = score(model, task, rules, 64, 100, *comm);
  EXPECT_NEAR(records[0].log_prob[0], sum_from(naive_log_probs(model, with_bos(" ab")), 0), 1e-5);
  EXPECT_EQ(records[0].characters[0], 2);
  EXPECT_TRUE(records[3].tie);
  EXPECT_TRUE(records[3].correct);

  rules = resolve_rules("original", "blimp", {});
  records = score(model, task, rules, 64, 100, *comm);
  EXPECT_TRUE(records[3].tie);
  EXPECT_FALSE(records[3].correct);
}

TEST(PairScorer, ASentenceThatBeginsWithThePrefixGetsNoSecondOne) {
  const Model model = toy_model(4);
  Task task = random_task(4, 4);
  task.items[0].choices[0] = "<s>ab";
  const auto comm = make_single_process_communicator();
  const auto records = score(model, task, {}, 64, 100, *comm);
  EXPECT_NEAR(records[0].log_prob[0], sum_from(naive_log_probs(model, with_bos("ab")), 0), 1e-5);
}

TEST(PairScorer, FreeFirstWordsStayFreeBehindAPrefixInTheText) {
  const Model model = toy_model(4);
  Task task = random_task(4, 4);
  task.items[0].choices[0] = "<s>ab";
  task.items[0].choices[1] = "ab";
  ScoringRules rules;
  rules.first_token = "free";
  const auto comm = make_single_process_communicator();
  const auto records = score(model, task, rules, 64, 100, *comm);
  EXPECT_NEAR(records[0].log_prob[0], naive_log_probs(model, with_bos("ab"))[1], 1e-5);
  EXPECT_TRUE(records[0].tie);
  EXPECT_EQ(records[0].tokens[0], 1);
}

TEST(PairScorer, ASentenceOfWhichNoTokenIsScoredIsRefused) {
  const Model model = toy_model(4);
  Task task = random_task(4, 4);
  const auto comm = make_single_process_communicator();
  task.items[1].choices[1] = "<s>";  // the prefix itself, and nothing behind it
  EXPECT_ERROR(score(model, task, {}, 64, 100, *comm), kInvalidArgument,
               "toy: item '1', bad sentence: none of its 1 tokens is scored");
  task.items[1].choices[1] = "a";
  ScoringRules rules;
  rules.first_token = "free";
  EXPECT_ERROR(score(model, task, rules, 64, 100, *comm), kInvalidArgument,
               "item '1', bad sentence", "use first_token: scored");
}

TEST(PairScorer, NormalisationDecidesPerTokenCharacterOrByte) {
  ItemRecord item;
  item.gold = 0;
  item.log_prob = {-6.0, -5.0};
  item.tokens = {3, 2};
  item.characters = {6, 6};
  item.bytes = {12, 8};
  const auto correct = [&](const char* normalisation) {
    ScoringRules rules;
    rules.normalisation = normalisation;
    decide(item, rules);
    return item.correct;
  };
  EXPECT_FALSE(correct("sum"));
  EXPECT_TRUE(correct("token"));       // -2 against -2.5
  EXPECT_FALSE(correct("character"));  // -1 against -0.83
  EXPECT_TRUE(correct("byte"));        // -0.5 against -0.625
}

TEST(PairScorer, LongSentencesAreCutIntoWindowsOrRefused) {
  const Model model = toy_model(5);
  Task task = random_task(4, 5);
  task.items[0].choices[0] = "abcdefghijklmnop";
  const auto comm = make_single_process_communicator();
  const auto records = score(model, task, {}, 8, 100, *comm);
  EXPECT_TRUE(records[0].windowed);
  EXPECT_EQ(records[0].tokens[0], 16);
  const auto tokens =
      with_bos(task.items[0].choices[0]);  // 17 tokens, windows of 8 inputs, stride 4
  const auto part = [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    return naive_log_probs(model, {tokens.begin() + begin, tokens.begin() + end});
  };
  const double expected =
      sum_from(part(0, 9), 0) + sum_from(part(4, 13), 4) + sum_from(part(8, 17), 4);
  EXPECT_NEAR(records[0].log_prob[0], expected, 1e-4);
  ScoringRules rules;
  rules.overlong = "error";
  EXPECT_THROW((void)score(model, task, rules, 8, 100, *comm), Error);
}

TEST(PairScorer, NotANumberIsAnErrorThatNamesTheItem) {
  Model model = toy_model(6);
  model.params = model.params.clone();
  at::Tensor embedding = model.params.at("model.embed_tokens.weight");
  const auto q = toy_tokenizer().encode("Q", false).front();
  embedding[q].fill_(std::numeric_limits<float>::quiet_NaN());
  Task task = random_task(12, 6);
  for (Item& item : task.items) {
    for (std::string* text : {&item.choices[0], &item.choices[1]}) {
      std::replace(text->begin(), text->end(), 'Q', 'R');
    }
  }
  task.items[7].choices[1] = "aQbc";
  const auto comm = make_single_process_communicator();
  try {
    (void)score(model, task, {}, 64, 1, *comm);
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCorrupt);
    EXPECT_NE(std::string(e.what()).find("is nan"), std::string::npos) << e.what();
  }
  // A tied head spreads NaN to every score; an untied one shows whose it is.
  model.config.tie_word_embeddings = false;
  model.params.set("lm_head.weight", toy_model(6).params.at("model.embed_tokens.weight"));
  try {
    (void)score(model, task, {}, 64, 1, *comm);
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("toy: item '7', bad sentence"), std::string::npos)
        << e.what();
  }
}

TEST(PairScorer, ForeignTokensAreRefused) {
  Model model = toy_model(7);
  const Task task = random_task(4, 7);
  const auto comm = make_single_process_communicator();
  EncodedTexts encoded(8, {{4, 5}, 0});
  encoded[5].ids = {4, 99};
  try {
    (void)score_choices(model, task, encoded, {}, 64, {}, *comm);
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kMismatch);
    EXPECT_NE(std::string(e.what()).find("item '2', bad sentence: token 99"), std::string::npos)
        << e.what();
  }
}

std::vector<ItemRecord> score_documents(const Model& model, const std::vector<Document>& documents,
                                        const TextRules& rules, std::int64_t batch_tokens,
                                        Communicator& comm) {
  const std::vector<Item> items = text_items(documents);
  return score_texts(model, items, encode_texts(items, toy_tokenizer(), comm), rules,
                     {.batch_tokens = batch_tokens}, comm);
}

TEST(BitsPerByte, OneWindowEqualsTheNaiveSum) {
  const Model model = toy_model(8);
  const auto comm = make_single_process_communicator();
  const std::vector<Document> documents = {{"a", "Hello you."}, {"b", ""}, {"c", "x\ny z"}};
  const auto records = score_documents(model, documents, {}, 64, *comm);
  ASSERT_EQ(records.size(), 3U);
  EXPECT_NEAR(records[0].nll(), -sum_from(naive_log_probs(model, with_bos("Hello you.")), 0), 1e-4);
  EXPECT_EQ(records[0].tokens[0], 10);
  EXPECT_EQ(records[0].words, 2);
  EXPECT_EQ(records[0].windows, 1);
  EXPECT_EQ(records[1].nll(), 0.0);
  EXPECT_EQ(records[1].tokens[0], 0);
  EXPECT_EQ(records[2].words, 3);
}

TEST(BitsPerByte, WindowsOfTheContextWithHalfAStride) {
  const Model model = toy_model(9);
  const auto comm = make_single_process_communicator();
  const std::vector<Document> documents = {{"a", "abcdefghijklm"}};
  TextRules rules;
  rules.context = 4;
  const auto records = score_documents(model, documents, rules, 7, *comm);
  const auto tokens = with_bos("abcdefghijklm");  // 14 tokens
  double expected = sum_from(naive_log_probs(model, {tokens.begin(), tokens.begin() + 5}), 0);
  for (std::ptrdiff_t begin = 2; begin + 5 <= 14; begin += 2) {
    expected +=
        sum_from(naive_log_probs(model, {tokens.begin() + begin, tokens.begin() + begin + 5}), 2);
  }
  // Windows end at tokens 4, 6, 8, 10, 12; token 13 is left for a last, shorter one.
  expected += sum_from(naive_log_probs(model, {tokens.begin() + 10, tokens.end()}), 2);
  EXPECT_NEAR(records[0].nll(), -expected, 1e-4);
  EXPECT_EQ(records[0].windows, 6);
  EXPECT_EQ(records[0].tokens[0], 13);
}

TEST(BitsPerByte, DisjointWindowsAreTheHarnesss) {
  const Model model = toy_model(9);
  const auto comm = make_single_process_communicator();
  TextRules rules;
  rules.context = 4;
  rules.stride = "disjoint";
  const auto records = score_documents(model, {{"a", "abcdefghijklm"}}, rules, 7, *comm);
  const auto tokens = with_bos("abcdefghijklm");  // 14 tokens, 13 of them predicted
  double expected = 0.0;
  for (std::ptrdiff_t begin = 0; begin < 12; begin += 4) {
    const auto first = tokens.begin() + begin;
    expected += sum_from(naive_log_probs(model, {first, first + 5}), 0);
  }
  // One token is left, behind as much text as a window holds.
  expected += sum_from(naive_log_probs(model, {tokens.begin() + 9, tokens.end()}), 3);
  EXPECT_NEAR(records[0].nll(), -expected, 1e-4);
  EXPECT_EQ(records[0].windows, 4);
}

TEST(BitsPerByte, WindowsMoveAsTheyAreTold) {
  EXPECT_EQ(window_stride("half", 11, false), 5);
  EXPECT_EQ(window_stride("half", 11, true), 5);
  EXPECT_EQ(window_stride("disjoint", 11, false), 11);
  EXPECT_EQ(window_stride("disjoint", 11, true), 10) << "the prefix takes the place of one";
  EXPECT_EQ(window_stride("3", 11, false), 3);
  EXPECT_EQ(window_stride("11", 11, false), 11);
  EXPECT_ERROR(window_stride("12", 11, false), kInvalidArgument, "stride is 12", "holds 11");
  EXPECT_ERROR(window_stride("11", 11, true), kInvalidArgument, "holds 10");
  for (const std::string stride : {"", "0", "-1", "none", "2.5", "1k"}) {
    EXPECT_ERROR(window_stride(stride, 11, false), kInvalidArgument, "half, disjoint or a number");
  }
}

TEST(BitsPerByte, DocumentsLongerThanTheContextMayBeRefused) {
  const Model model = toy_model(9);
  const auto comm = make_single_process_communicator();
  TextRules rules;
  rules.context = 4;
  rules.overlong = "error";
  EXPECT_EQ(score_documents(model, {{"a", "abcd"}}, rules, 7, *comm)[0].windows, 1);
  EXPECT_ERROR(score_documents(model, {{"a", "abcd"}, {"b", "abcde"}}, rules, 7, *comm),
               kInvalidArgument, "'b' has 5 tokens", "max_characters");
}

TEST(BitsPerByte, UnitsAgreeWithEachOther) {
  const Model model = toy_model(10);
  const auto comm = make_single_process_communicator();
  const std::vector<Document> documents = {{"a", "one two"}, {"b", "three four five"}};
  const TextTotals totals = total(score_documents(model, documents, {}, 64, *comm));
  EXPECT_EQ(totals.bytes, 22);
  EXPECT_EQ(totals.words, 5);
  EXPECT_NEAR(totals.bits_per_byte(), std::log2(totals.byte_perplexity()), 1e-12);
  EXPECT_NEAR(totals.word_perplexity(), std::pow(totals.byte_perplexity(), 22.0 / 5.0),
              1e-9 * totals.word_perplexity());
  EXPECT_NEAR(totals.token_perplexity(), totals.byte_perplexity(), 1e-9);  // a token a byte here
}

TEST(Scorer, TextsOnBothSidesOfALongropesContextShareNothing) {
  Model model = toy_model(11);
  RopeParameters& rope = model.config.rope;
  rope.type = RopeType::kLongrope;
  rope.original_max_position_embeddings = 6;
  const auto pairs = static_cast<std::size_t>(model.config.rotary_dim() / 2);
  rope.short_factor.assign(pairs, 1.0);
  rope.long_factor.assign(pairs, 3.0);
  // Seven tokens are six inputs: inside. Eight are outside, and turn otherwise from the first on.
  const std::vector<std::int32_t> text = {1, 40, 41, 50, 60, 43, 44, 45, 46};
  std::vector<ScoreRequest> requests;
  for (const std::ptrdiff_t length : {5, 7, 8, 9}) {
    requests.push_back({.tokens = {text.begin(), text.begin() + length}});
  }
  const auto comm = make_single_process_communicator();
  const auto name = [](std::int64_t i) { return std::to_string(i); };
  const auto together = score_sums(model, requests, name, {}, *comm);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const std::vector<double> alone = naive_log_probs(model, requests[i].tokens);
    EXPECT_NEAR(together[i], sum_from(alone, 0), 1e-4) << i;
  }
}

TEST(BitsPerByte, AUniformModelNeedsLogVBitsAToken) {
  Model model = toy_model(11);
  model.params = model.params.clone();
  for (const auto& [name, tensor] : model.params) {
    at::Tensor(tensor).zero_();  // logits are all equal
  }
  const auto comm = make_single_process_communicator();
  const auto records = score_documents(model, {{"a", "some text of some length"}}, {}, 64, *comm);
  EXPECT_NEAR(total(records).bits_per_byte(), std::log2(99.0), 1e-6);
}

TEST(Counting, CharactersWordsAndCuts) {
  EXPECT_EQ(count_characters("aþé€𝄞"), 5);
  EXPECT_EQ(count_words("  a\tb\n\nc\u00a0d\u3000e  "), 5);
  EXPECT_EQ(count_words(" \n"), 0);
  EXPECT_EQ(first_characters("þorn", 2), "þo");
  EXPECT_EQ(first_characters("ab", 5), "ab");
}

}  // namespace
}  // namespace growmerge::eval
