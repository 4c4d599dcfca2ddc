#include "core/model/flops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"

namespace growmerge {
namespace {

// The reference study's pair (arXiv 2512.10772): 180M, and the same grown twofold.
ModelConfig study_model(std::int64_t factor) {
  ModelConfig c;
  c.vocab_size = 128256;
  c.hidden_size = 576 * factor;
  c.intermediate_size = 1536 * factor;
  c.num_layers = 30;
  c.num_heads = 9 * factor;
  c.num_kv_heads = 3 * factor;
  c.head_dim = 64;
  c.tie_word_embeddings = true;
  return c;
}

double three_digits(double x) { return std::round(x * 1000.0) / 1000.0; }

TEST(Flops, StudyPairByConvention) {
  const ModelConfig one = study_model(1);
  const ModelConfig two = study_model(2);
  const auto ratio = [&](FlopConvention convention) {
    return three_digits(train_flops_per_token(two, 2048, convention) /
                        train_flops_per_token(one, 2048, convention));
  };
  EXPECT_DOUBLE_EQ(ratio(FlopConvention::kCausal), 2.986);
  EXPECT_DOUBLE_EQ(ratio(FlopConvention::kFullAttention), 2.847);
  EXPECT_DOUBLE_EQ(ratio(FlopConvention::kSixN), 3.179);
  EXPECT_DOUBLE_EQ(ratio(FlopConvention::kSixNNonEmbedding), 4.000);
  EXPECT_NEAR(train_flops_per_token(one, 2048, FlopConvention::kCausal), 1.293e9, 5e5);
  EXPECT_NEAR(train_flops_per_token(two, 2048, FlopConvention::kCausal), 3.859e9, 5e5);
  EXPECT_NEAR(train_flops_per_token(one, 2048, FlopConvention::kFullAttention), 1.505e9, 5e5);
  EXPECT_NEAR(train_flops_per_token(two, 2048, FlopConvention::kSixN), 3.435e9, 5e5);
  EXPECT_NEAR(train_flops_per_token(one, 2048, FlopConvention::kSixNNonEmbedding), 0.637e9, 5e5);
}

TEST(Flops, AttendedKeysCountTheUnmaskedPairs) {
  const std::array<std::int32_t, 5> starts = {0, 1, 8, 8 + 13, 32};
  double pairs = 0.0;
  for (int query = 0; query < 32; ++query) {
    for (int key = 0; key <= query; ++key) {
      int segments_between = 0;
      for (const std::int32_t start : starts) {
        segments_between += start > key && start <= query ? 1 : 0;
      }
      pairs += segments_between == 0 ? 1.0 : 0.0;
    }
  }
  EXPECT_DOUBLE_EQ(mean_attended_keys(starts), pairs / 32.0);
  const std::array<std::int32_t, 2> whole = {0, 2048};
  EXPECT_DOUBLE_EQ(mean_attended_keys(whole), 1024.5);
}

TEST(Flops, CausalConventionIsUnmaskedPairsTimesTheirProducts) {
  const ModelConfig c = study_model(1);
  const std::int64_t T = 64;
  double pairs = 0.0;
  for (std::int64_t query = 0; query < T; ++query) {
    pairs += static_cast<double>(query + 1);
  }
  // A pair costs 2 h for its score and 2 h for its value, in each head and layer; backward twice.
  const double attention =
      3.0 * pairs * 4.0 * static_cast<double>(c.head_dim * c.num_heads * c.num_layers);
  const double without = 3.0 * forward_flops_per_token(c, 0.0) * static_cast<double>(T);
  EXPECT_DOUBLE_EQ(train_flops_per_token(c, T, FlopConvention::kCausal) * static_cast<double>(T),
                   attention + without);
}

// A layer with a window scores the pairs inside it, whatever the other layers do.
TEST(Flops, WindowsCostTheirPairsAlone) {
  ModelConfig c = study_model(1);
  c.architecture = "MinistralForCausalLM";
  c.sliding_window = 10;
  c.layer_types.assign(static_cast<std::size_t>(c.num_layers), "full_attention");
  c.layer_types[1] = "sliding_attention";
  const std::int64_t T = 64;
  double saved = 0.0;
  for (std::int64_t query = 0; query < T; ++query) {
    saved += static_cast<double>(std::max<std::int64_t>(0, query + 1 - 10));
  }
  const ModelConfig full = study_model(1);
  const double difference = train_flops_per_token(full, T, FlopConvention::kCausal) -
                            train_flops_per_token(c, T, FlopConvention::kCausal);
  const double expected =
      3.0 * saved * 4.0 * static_cast<double>(c.head_dim * c.num_heads) / static_cast<double>(T);
  EXPECT_NEAR(difference, expected, 1e-9 * train_flops_per_token(c, T, FlopConvention::kCausal));
  c.sliding_window = 1000;
  EXPECT_DOUBLE_EQ(train_flops_per_token(c, T, FlopConvention::kFullAttention),
                   train_flops_per_token(full, T, FlopConvention::kFullAttention));
}

TEST(Flops, HeadCountsTiedOrNotAndOnlySixNSeesTheSecondMatrix) {
  ModelConfig untied = study_model(1);
  untied.tie_word_embeddings = false;
  const ModelConfig tied = study_model(1);
  EXPECT_DOUBLE_EQ(train_flops_per_token(untied, 128, FlopConvention::kCausal),
                   train_flops_per_token(tied, 128, FlopConvention::kCausal));
  EXPECT_DOUBLE_EQ(train_flops_per_token(untied, 128, FlopConvention::kSixN) -
                       train_flops_per_token(tied, 128, FlopConvention::kSixN),
                   6.0 * 576.0 * 128256.0);
}

TEST(Flops, BudgetIsMatchedToTheNearestStep) {
  const ModelConfig c = study_model(1);
  const double step = 4096.0 * train_flops_per_token(c, 2048, FlopConvention::kCausal);
  const MatchedBudget matched = match_budget(c, 100.4 * step, 2048, 4096);
  EXPECT_EQ(matched.steps, 100);
  EXPECT_NEAR(matched.mismatch, -0.4 / 100.4, 1e-12);
  EXPECT_EQ(match_budget(c, 0.1 * step, 2048, 4096).steps, 1);
  EXPECT_THROW((void)match_budget(c, 0.0, 2048, 4096), Error);
  EXPECT_THROW((void)match_budget(c, step, 2048, 0), Error);
}

}  // namespace
}  // namespace growmerge
