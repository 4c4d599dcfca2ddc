#include "data/token_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/held_out_stream.h"
#include "data/prefetch.h"
#include "tests/data/shard_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

constexpr std::int64_t kIgnored = Batch::kIgnoredTarget;

struct Corpus {
  std::filesystem::path path;
  std::vector<std::vector<std::int32_t>> documents;
  std::int64_t num_tokens = 0;
};

Corpus make_corpus(const std::filesystem::path& path, std::size_t count, int longest,
                   std::uint64_t seed = 1) {
  Corpus corpus{path, counting_documents(count, longest, seed), 0};
  write_documents(path, test_info(300000, path.stem().string()), corpus.documents);
  for (const auto& document : corpus.documents) {
    corpus.num_tokens += static_cast<std::int64_t>(document.size());
  }
  return corpus;
}

MixtureConfig one_source(const std::filesystem::path& path, std::int64_t row_tokens,
                         std::optional<double> epochs = {}) {
  MixtureConfig config;
  config.seed = 5;
  config.row_tokens = row_tokens;
  MixtureSource source;
  source.path = path.string();
  if (epochs) {
    source.epochs = epochs;
  } else {
    source.weight = 1.0;
  }
  config.sources.push_back(source);
  return config;
}

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  return {tensor.data_ptr<std::int64_t>(), tensor.data_ptr<std::int64_t>() + tensor.numel()};
}

void expect_equal(const Batch& a, const Batch& b) {
  EXPECT_EQ(values(a.tokens), values(b.tokens));
  EXPECT_EQ(values(a.targets), values(b.targets));
  EXPECT_EQ(a.segment_starts, b.segment_starts);
  EXPECT_EQ(a.row_sources, b.row_sources);
}

/// The segments of a batch, each as (tokens, targets).
std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>> segments(
    const Batch& batch) {
  const auto tokens = values(batch.tokens);
  const auto targets = values(batch.targets);
  std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>> out;
  for (std::size_t i = 0; i + 1 < batch.segment_starts.size(); ++i) {
    const auto from = batch.segment_starts[i];
    const auto to = batch.segment_starts[i + 1];
    out.push_back({{tokens.begin() + from, tokens.begin() + to},
                   {targets.begin() + from, targets.begin() + to}});
  }
  return out;
}

// Tokens count through the shard, so each one's successor is known: token + 1, or EOS (0) where a
// document ends.
TEST(TokenStream, EachEpochHoldsEveryTokenAndEveryNeighbourPairOnce) {
  const testing::TemporaryDirectory dir;
  for (const int longest : {1, 3, 40, 2000}) {  // all EOS, tiny, middling, longer than rows
    const Corpus corpus = make_corpus(dir.path() / "en.h5", longest > 100 ? 12 : 200, longest);
    for (const std::int64_t row_tokens : {2, 16, 64}) {
      std::map<std::int64_t, int> expected_tokens;
      std::map<std::pair<std::int64_t, std::int64_t>, int> expected_pairs;
      for (const auto& document : corpus.documents) {
        for (std::size_t i = 0; i < document.size(); ++i) {
          ++expected_tokens[document[i]];
          if (i + 1 < document.size()) {
            ++expected_pairs[{document[i], document[i + 1]}];
          }
        }
      }
      // row_tokens epochs end exactly at a row's end.
      const auto stream = TokenStream::open(
          one_source(corpus.path, row_tokens, static_cast<double>(row_tokens)), {});
      ASSERT_EQ(stream->num_rows(), corpus.num_tokens);
      std::map<std::int64_t, int> seen_tokens;
      std::map<std::pair<std::int64_t, std::int64_t>, int> seen_pairs;
      const std::int64_t total = stream->num_rows();
      for (std::int64_t row = 0; row < total; row += 1000) {
        const Batch batch = stream->rows(row, std::min<std::int64_t>(1000, total - row));
        const auto tokens = values(batch.tokens);
        const auto targets = values(batch.targets);
        for (std::size_t i = 0; i < tokens.size(); ++i) {
          ++seen_tokens[tokens[i]];
          if (targets[i] != kIgnored) {
            ++seen_pairs[{tokens[i], targets[i]}];
          }
        }
      }
      for (auto& [token, count] : expected_tokens) {
        count *= static_cast<int>(row_tokens);
      }
      for (auto& [pair, count] : expected_pairs) {
        count *= static_cast<int>(row_tokens);
      }
      EXPECT_EQ(seen_tokens, expected_tokens) << longest << " " << row_tokens;
      EXPECT_EQ(seen_pairs, expected_pairs) << longest << " " << row_tokens;
    }
  }
}

TEST(TokenStream, FirstEpochHoldsEveryTokenOnceBeforeTheSecondBegins) {
  const testing::TemporaryDirectory dir;
  const Corpus corpus = make_corpus(dir.path() / "en.h5", 500, 30);
  const auto stream = TokenStream::open(one_source(corpus.path, 16), {});
  const std::int64_t rows = corpus.num_tokens / 16;
  std::map<std::int64_t, int> seen;
  for (const std::int64_t token : values(stream->rows(0, rows).tokens)) {
    ++seen[token];
  }
  for (const auto& [token, count] : seen) {
    EXPECT_TRUE(token == 0 || count == 1) << token;
  }
  EXPECT_GE(static_cast<std::int64_t>(seen.size()),
            corpus.num_tokens - 500 - 16);  // all but EOS and the rest of the last row
}

TEST(TokenStream, SegmentsAreDocumentsAndTargetsStayInside) {
  const testing::TemporaryDirectory dir;
  const Corpus corpus = make_corpus(dir.path() / "en.h5", 300, 25);
  const auto stream = TokenStream::open(one_source(corpus.path, 16), {});
  const Batch batch = stream->rows(0, 200);
  std::set<std::int64_t> row_starts;
  for (std::int64_t row = 0; row < 200; ++row) {
    row_starts.insert(row * 16);
  }
  EXPECT_EQ(batch.segment_starts.front(), 0);
  EXPECT_EQ(batch.segment_starts.back(), batch.num_positions());
  for (const std::int32_t start : batch.segment_starts) {
    row_starts.erase(start);
  }
  EXPECT_TRUE(row_starts.empty());  // every row begins a segment
  int cut = 0;
  for (const auto& [tokens, targets] : segments(batch)) {
    ASSERT_FALSE(tokens.empty());
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      EXPECT_NE(tokens[i], 0);  // EOS only at a segment's end
      EXPECT_EQ(targets[i], tokens[i + 1]);
    }
    if (tokens.back() == 0) {
      EXPECT_EQ(targets.back(), kIgnored);
    } else {  // cut by the row's end: the target is the document's next token
      EXPECT_TRUE(targets.back() == tokens.back() + 1 || targets.back() == 0);
      ++cut;
    }
  }
  EXPECT_GT(cut, 50);
  const auto all = values(batch.tokens);
  EXPECT_EQ(batch.num_targets(),
            batch.num_positions() - std::count(all.begin(), all.end(), std::int64_t{0}));
}

TEST(TokenStream, CrossDocumentRowsAreOneSegmentWithEveryTarget) {
  const testing::TemporaryDirectory dir;
  const Corpus corpus = make_corpus(dir.path() / "en.h5", 300, 25);
  MixtureConfig config = one_source(corpus.path, 16);
  const auto apart = TokenStream::open(config, {});
  config.cross_document = true;
  const auto cross = TokenStream::open(config, {});
  EXPECT_NE(apart->identity(), cross->identity());
  const std::int64_t rows = 3 * corpus.num_tokens / 16;
  const Batch batch = cross->rows(0, rows);
  const auto tokens = values(batch.tokens);
  const auto targets = values(batch.targets);
  EXPECT_EQ(tokens, values(apart->rows(0, rows).tokens));
  EXPECT_EQ(batch.segment_starts.size(), static_cast<std::size_t>(rows) + 1);
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    ASSERT_EQ(targets[i], tokens[i + 1]) << i;  // rows of one source follow one another
  }
  EXPECT_EQ(targets.back(), values(cross->rows(rows, 1).tokens)[0]);
}

TEST(TokenStream, RowsDoNotDependOnHowTheyAreAskedFor) {
  const testing::TemporaryDirectory dir;
  const Corpus a = make_corpus(dir.path() / "en.h5", 300, 25, 1);
  const Corpus b = make_corpus(dir.path() / "sv.h5", 90, 300, 2);
  MixtureConfig config = one_source(a.path, 32);
  config.sources[0].weight = 0.2;
  config.sources.push_back({b.path.string(), "", "", 0.8, {}});
  const auto stream = TokenStream::open(config, {});
  const Batch whole = stream->rows(0, 2400);
  const auto tokens = values(whole.tokens);
  const auto targets = values(whole.targets);
  for (const int world_size : {1, 3, 4}) {  // each rank takes a part of each step's 24 rows
    for (int rank = 0; rank < world_size; ++rank) {
      const auto own = TokenStream::open(config, {});
      const std::int64_t per_rank = 24 / world_size;
      for (const std::int64_t step : {99, 0, 50, 51, 7}) {  // any order
        const std::int64_t first = step * 24 + rank * per_rank;
        const Batch part = own->rows(first, per_rank);
        EXPECT_EQ(values(part.tokens), (std::vector(tokens.begin() + first * 32,
                                                    tokens.begin() + (first + per_rank) * 32)));
        EXPECT_EQ(values(part.targets), (std::vector(targets.begin() + first * 32,
                                                     targets.begin() + (first + per_rank) * 32)));
      }
    }
  }
}

TEST(TokenStream, SeedsAndEpochsGiveDifferentOrders) {
  const testing::TemporaryDirectory dir;
  const Corpus corpus = make_corpus(dir.path() / "en.h5", 200, 2);
  MixtureConfig config = one_source(corpus.path, static_cast<std::int64_t>(corpus.num_tokens));
  const auto stream = TokenStream::open(config, {});
  config.seed = 6;
  const auto other = TokenStream::open(config, {});
  EXPECT_NE(stream->identity(), other->identity());
  EXPECT_NE(values(stream->rows(0, 1).tokens), values(other->rows(0, 1).tokens));
  EXPECT_NE(values(stream->rows(0, 1).tokens), values(stream->rows(1, 1).tokens));
}

TEST(TokenStream, SharesHoldOverEveryPrefix) {
  const testing::TemporaryDirectory dir;
  const Corpus a = make_corpus(dir.path() / "en.h5", 50, 25, 1);
  const Corpus b = make_corpus(dir.path() / "sv.h5", 50, 25, 2);
  MixtureConfig config = one_source(a.path, 8);
  config.sources[0].weight = 0.2;
  config.sources.push_back({b.path.string(), "", "", 0.8, {}});
  const auto stream = TokenStream::open(config, {});
  EXPECT_EQ(stream->num_rows(), -1);
  EXPECT_EQ(stream->source_names(), (std::vector<std::string>{"en", "sv"}));
  const Batch batch = stream->rows(0, 1000);
  int english = 0;
  for (int k = 0; k < 1000; ++k) {
    english += batch.row_sources[static_cast<std::size_t>(k)] == 0 ? 1 : 0;
    EXPECT_LT(std::abs(english - 0.2 * (k + 1)), 1.0);
  }
  EXPECT_EQ(stream->use(1000)[0].rows, english);
  EXPECT_EQ(english, 200);
}

TEST(TokenStream, EpochsGiveEachSourceExactlyItsRows) {
  const testing::TemporaryDirectory dir;
  const Corpus a = make_corpus(dir.path() / "en.h5", 80, 25, 1);
  const Corpus b = make_corpus(dir.path() / "sv.h5", 50, 90, 2);
  MixtureConfig config = one_source(a.path, 8, 2.0);
  config.sources.push_back({b.path.string(), "", "", {}, 1.5});
  const auto stream = TokenStream::open(config, {});
  const std::int64_t rows_a = 2 * a.num_tokens / 8;
  const std::int64_t rows_b =
      static_cast<std::int64_t>(1.5 * static_cast<double>(b.num_tokens)) / 8;
  EXPECT_EQ(stream->num_rows(), rows_a + rows_b);
  EXPECT_EQ(stream->use(stream->num_rows())[0].rows, rows_a);
  EXPECT_EQ(stream->use(stream->num_rows())[1].rows, rows_b);
  (void)stream->rows(stream->num_rows() - 1, 1);
  const std::string message = testing::error_of(
      ErrorCode::kInvalidArgument, [&] { (void)stream->rows(stream->num_rows() - 1, 2); });
  EXPECT_NE(message.find("raise sources.*.epochs"), std::string::npos) << message;
}

TEST(TokenStream, ReplayTakesItsShareOfTheWholeBesideEpochs) {
  const testing::TemporaryDirectory dir;
  const Corpus english = make_corpus(dir.path() / "en.h5", 400, 25, 1);
  const Corpus swedish = make_corpus(dir.path() / "sv.h5", 300, 90, 2);
  MixtureConfig config = one_source(swedish.path, 8, 1.0);
  config.sources.push_back({english.path.string(), "", "", 0.2, {}});
  const auto stream = TokenStream::open(config, {});
  const std::int64_t swedish_rows = swedish.num_tokens / 8;
  EXPECT_EQ(stream->num_rows(), swedish_rows * 5 / 4);
  const auto use = stream->use(stream->num_rows());
  EXPECT_LE(std::abs(use[0].rows - swedish_rows), 1);
  EXPECT_LE(std::abs(use[1].rows - stream->num_rows() / 5), 1);
  EXPECT_NEAR(use[0].epochs, 1.0, 0.01);
}

TEST(TokenStream, ShardsMustFitTheModelAndEachOther) {
  const testing::TemporaryDirectory dir;
  const Corpus a = make_corpus(dir.path() / "en.h5", 20, 25, 1);
  const MixtureConfig config = one_source(a.path, 8);
  EXPECT_NE(testing::error_of(
                ErrorCode::kMismatch,
                [&] { (void)TokenStream::open(config, {.vocab_size = 512, .tokenizer_hash = ""}); })
                .find("vocabulary of 300000 tokens, but the model has 512"),
            std::string::npos);
  EXPECT_NE(
      testing::error_of(
          ErrorCode::kMismatch,
          [&] { (void)TokenStream::open(config, {.vocab_size = 0, .tokenizer_hash = "f00"}); })
          .find("the model's tokenizer.json is f00"),
      std::string::npos);
  TokenShardInfo info = test_info(300000, "sv");
  info.tokenizer_hash = "other";
  write_documents(dir.path() / "sv.h5", info, counting_documents(20, 30, 3));
  MixtureConfig two = config;
  two.sources.push_back({dir.path().string(), "sv", "", 1.0, {}});
  EXPECT_NE(testing::error_of(ErrorCode::kMismatch, [&] { (void)TokenStream::open(two, {}); })
                .find("other"),
            std::string::npos);
}

TEST(TokenStream, ShardsAreFoundByLanguage) {
  const testing::TemporaryDirectory dir;
  (void)make_corpus(dir.path() / "en.h5", 20, 25, 1);
  EXPECT_EQ(find_shard(dir.path(), ""), dir.path() / "en.h5");
  (void)make_corpus(dir.path() / "sv.h5", 20, 25, 1);
  EXPECT_EQ(find_shard(dir.path(), "sv"), dir.path() / "sv.h5");
  EXPECT_NE(
      testing::error_of(ErrorCode::kInvalidArgument, [&] { (void)find_shard(dir.path(), ""); })
          .find("(en, sv)"),
      std::string::npos);
  EXPECT_NE(testing::error_of(ErrorCode::kNotFound, [&] { (void)find_shard(dir.path(), "de"); })
                .find("no shard of language 'de'; there are: en, sv"),
            std::string::npos);
  (void)testing::error_of(ErrorCode::kNotFound,
                          [&] { (void)find_shard(dir.path() / "none", "de"); });
}

TEST(Mixture, NonsenseIsRefusedByName) {
  MixtureConfig config;
  EXPECT_THROW(config.validate(), Error);
  config.sources.push_back({"a.h5", "", "", {}, {}});
  EXPECT_NE(testing::error_of(ErrorCode::kInvalidArgument, [&] { config.validate(); })
                .find("sources.0 (a.h5): has neither weight nor epochs"),
            std::string::npos);
  config.sources[0].weight = 1.0;
  config.validate();
  config.sources[0].epochs = 1.0;
  EXPECT_THROW(config.validate(), Error);
  config.sources[0].weight = {};
  config.sources.push_back({"b.h5", "", "", 1.0, {}});
  EXPECT_NE(testing::error_of(ErrorCode::kInvalidArgument, [&] { config.validate(); })
                .find("sum to less"),
            std::string::npos);
  config.sources[1].weight = std::nan("");
  EXPECT_THROW(config.validate(), Error);
}

TEST(HeldOutStream, ScoresEveryNeighbourPairOnceInFileOrder) {
  const testing::TemporaryDirectory dir;
  for (const bool cross : {false, true}) {
    const Corpus a = make_corpus(dir.path() / "en.h5", 60, 25, 1);
    const Corpus b = make_corpus(dir.path() / "sv.h5", 7, 200, 2);
    HeldOutConfig config;
    config.row_tokens = 16;
    config.cross_document = cross;
    config.sources = {{a.path.string(), "", ""}, {b.path.string(), "", "swedish"}};
    const auto stream = HeldOutStream::open(config, {});
    EXPECT_EQ(stream->source_names(), (std::vector<std::string>{"en", "swedish"}));
    const std::int64_t rows_a = (a.num_tokens + 15) / 16;
    ASSERT_EQ(stream->num_rows(), rows_a + (b.num_tokens + 15) / 16);
    std::int64_t row = 0;
    for (const Corpus* corpus : {&a, &b}) {
      std::vector<std::int64_t> expected_tokens;
      std::vector<std::int64_t> expected_targets;
      for (const auto& document : corpus->documents) {
        if (cross && !expected_targets.empty()) {
          expected_targets.back() = document[0];
        }
        expected_tokens.insert(expected_tokens.end(), document.begin(), document.end());
        expected_targets.insert(expected_targets.end(), document.begin() + 1, document.end());
        expected_targets.push_back(kIgnored);
      }
      const std::int64_t rows = (corpus->num_tokens + 15) / 16;
      expected_tokens.resize(static_cast<std::size_t>(rows) * 16, 0);
      expected_targets.resize(static_cast<std::size_t>(rows) * 16, kIgnored);
      const Batch batch = stream->rows(row, rows);
      EXPECT_EQ(values(batch.tokens), expected_tokens);
      EXPECT_EQ(values(batch.targets), expected_targets);
      EXPECT_EQ(batch.row_sources,
                std::vector<std::int32_t>(static_cast<std::size_t>(rows), corpus == &a ? 0 : 1));
      row += rows;
    }
    expect_equal(stream->rows(rows_a - 1, 2), stream->rows(rows_a - 1, 2));
    (void)testing::error_of(ErrorCode::kInvalidArgument,
                            [&] { (void)stream->rows(stream->num_rows(), 1); });
    config.max_rows = 2;
    EXPECT_EQ(HeldOutStream::open(config, {})->num_rows(), 4);
  }
}

TEST(Prefetch, GivesTheSameRowsAndLearnsTheOrder) {
  const testing::TemporaryDirectory dir;
  const Corpus corpus = make_corpus(dir.path() / "en.h5", 300, 25, 1);
  const MixtureConfig config = one_source(corpus.path, 16);
  const auto plain = TokenStream::open(config, {});
  PrefetchSource source(TokenStream::open(config, {}), 3);
  EXPECT_EQ(source.identity(), plain->identity());
  std::int64_t asked = 0;
  for (std::int64_t step = 0; step < 40; ++step) {  // rank 1 of 2; 3 micro-batches of 2 rows
    for (std::int64_t micro = 0; micro < 3; ++micro) {
      const std::int64_t first = step * 12 + 6 + micro * 2;
      expect_equal(source.rows(first, 2), plain->rows(first, 2));
      ++asked;
    }
  }
  EXPECT_GT(source.num_hits(), asked - 20);
  expect_equal(source.rows(3, 5), plain->rows(3, 5));  // something else altogether
  expect_equal(source.rows(1000, 1), plain->rows(1000, 1));
}

TEST(Prefetch, ErrorsReachTheRequestTheyBelongTo) {
  const testing::TemporaryDirectory dir;
  const Corpus corpus = make_corpus(dir.path() / "en.h5", 30, 25, 1);
  PrefetchSource source(TokenStream::open(one_source(corpus.path, 16, 1.0), {}), 4);
  for (std::int64_t row = 0; row < source.num_rows(); ++row) {
    (void)source.rows(row, 1);
  }
  (void)testing::error_of(ErrorCode::kInvalidArgument,
                          [&] { (void)source.rows(source.num_rows(), 1); });
  (void)source.rows(0, 1);  // still works
}

}  // namespace
}  // namespace growmerge::data
