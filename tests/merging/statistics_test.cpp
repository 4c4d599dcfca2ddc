#include "merging/statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/store/safetensors.h"
#include "core/transformer/transformer.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

// Rows of random tokens; row 2 has no target at all.
class RandomRows : public BatchSource {
 public:
  RandomRows(std::int64_t rows, std::int64_t vocab) : rows_(rows), vocab_(vocab) {}
  Batch rows(std::int64_t first, std::int64_t count) override {
    Batch batch;
    batch.num_rows = count;
    batch.row_tokens = kRowTokens;
    batch.tokens = at::empty({count * kRowTokens}, at::ScalarType::Long);
    batch.targets = at::empty({count * kRowTokens}, at::ScalarType::Long);
    batch.segment_starts = {0};
    for (std::int64_t r = 0; r < count; ++r) {
      const Philox random(5, static_cast<std::uint64_t>(first + r));
      for (std::int64_t t = 0; t < kRowTokens; ++t) {
        const auto draw = [&](std::int64_t at) {
          return static_cast<std::int64_t>(
              random.below(static_cast<std::uint64_t>(at), static_cast<std::uint64_t>(vocab_)));
        };
        batch.tokens.data_ptr<std::int64_t>()[r * kRowTokens + t] = draw(t);
        // Rows score a different number of targets each.
        const bool scored = t + 1 < kRowTokens && t < 3 + first + r && first + r != 2;
        batch.targets.data_ptr<std::int64_t>()[r * kRowTokens + t] =
            scored ? draw(t + 1) : Batch::kIgnoredTarget;
      }
      batch.segment_starts.push_back(static_cast<std::int32_t>((r + 1) * kRowTokens));
      batch.row_sources.push_back(0);
    }
    return batch;
  }
  std::int64_t num_rows() const override { return rows_; }
  std::int64_t row_tokens() const override { return kRowTokens; }
  std::int64_t vocab_size() const override { return vocab_; }
  const std::vector<std::string>& source_names() const override { return names_; }
  std::string identity() const override { return "random rows"; }

 private:
  static constexpr std::int64_t kRowTokens = 9;
  std::int64_t rows_;
  std::int64_t vocab_;
  std::vector<std::string> names_ = {"xx"};
};

Model small_model() {
  ModelConfig c;
  c.vocab_size = 23;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_layers = 2;
  c.num_heads = 2;
  c.num_kv_heads = 1;
  c.head_dim = 8;
  c.initializer_range = 0.3;
  Model model = init_model(c, 3);
  return {c, model.params.to(at::ScalarType::Double)};
}

double mean_nll(const Model& model, const Batch& batch) {
  const LossResult loss = forward_loss(model.config, model.params, batch);
  return loss.loss_sum / static_cast<double>(loss.num_targets);
}

// Central differences of one sequence's mean NLL, in float64: independent of the backward pass.
double squared_slope(const Model& model, const Batch& batch, const std::string& name,
                     std::int64_t element) {
  constexpr double kStep = 1e-5;
  double* weight = model.params.at(name).data_ptr<double>() + element;
  const double before = *weight;
  *weight = before + kStep;
  const double above = mean_nll(model, batch);
  *weight = before - kStep;
  const double below = mean_nll(model, batch);
  *weight = before;
  const double slope = (above - below) / (2.0 * kStep);
  return slope * slope;
}

TEST(Statistics, FisherIsTheMeanSquaredGradientOfEachSequencesMeanNll) {
  const Model model = small_model();
  RandomRows rows(6, 23);
  const auto comm = make_single_process_communicator();
  const Statistics statistics = compute_statistics({.num_sequences = 5}, model, rows, *comm);
  EXPECT_EQ(statistics.num_sequences, 4);  // row 2 has no target
  EXPECT_EQ(statistics.num_tokens, 3 + 4 + 6 + 7);
  for (const auto& [name, fisher] : statistics.fisher) {
    ASSERT_EQ(fisher.scalar_type(), at::ScalarType::Float);
    ASSERT_EQ(fisher.sizes(), model.params.at(name).sizes());
    const std::int64_t stride = std::max<std::int64_t>(1, fisher.numel() / 7);
    const double largest = fisher.max().item<double>();
    EXPECT_GT(largest, 0.0) << name;
    for (std::int64_t i = 0; i < fisher.numel(); i += stride) {
      double expected = 0.0;
      for (const std::int64_t row : {0, 1, 3, 4}) {
        expected += squared_slope(model, rows.rows(row, 1), name, i) / 4.0;
      }
      EXPECT_NEAR(fisher.const_data_ptr<float>()[i], expected, 1e-6 * largest + 1e-6 * expected)
          << name << "[" << i << "]";
    }
  }
}

TEST(Statistics, Float32ModelAgreesWithFloat64) {
  const Model model = small_model();
  RandomRows rows(6, 23);
  const auto comm = make_single_process_communicator();
  const Statistics exact = compute_statistics({.num_sequences = 0}, model, rows, *comm);
  const Model single{model.config, model.params.to(at::ScalarType::Float)};
  const Statistics rounded = compute_statistics({.num_sequences = 0}, single, rows, *comm);
  EXPECT_EQ(exact.num_sequences, 5);
  for (const auto& [name, fisher] : exact.fisher) {
    const double difference = (fisher - rounded.fisher.at(name)).abs().max().item<double>();
    EXPECT_LT(difference, 1e-4 * fisher.max().item<double>()) << name;
  }
}

TEST(Statistics, CountsEveryInputToken) {
  const Model model = small_model();
  RandomRows rows(6, 23);
  const auto comm = make_single_process_communicator();
  const Statistics statistics = compute_statistics({.num_sequences = 6}, model, rows, *comm);
  std::vector<std::int64_t> expected(23, 0);
  const Batch batch = rows.rows(0, 6);
  for (std::int64_t i = 0; i < batch.tokens.numel(); ++i) {
    ++expected[static_cast<std::size_t>(batch.tokens.const_data_ptr<std::int64_t>()[i])];
  }
  for (std::int64_t id = 0; id < 23; ++id) {
    EXPECT_EQ(statistics.token_counts.const_data_ptr<std::int64_t>()[id],
              expected[static_cast<std::size_t>(id)]);
  }
}

TEST(Statistics, FilesHoldTheModelsNamesAndWhereTheyCameFrom) {
  const Model model = small_model();
  RandomRows rows(6, 23);
  const auto comm = make_single_process_communicator();
  const Statistics statistics = compute_statistics({.num_sequences = 2}, model, rows, *comm);
  const growmerge::testing::TemporaryDirectory dir;
  save_statistics(dir.path(), statistics, {"model-hash", rows.identity()});
  const SafetensorsFile file = SafetensorsFile::open(dir.path() / "fisher.safetensors");
  EXPECT_EQ(file.metadata().at("model_identity"), "model-hash");
  EXPECT_EQ(file.metadata().at("corpus_identity"), "random rows");
  EXPECT_EQ(file.metadata().at("num_sequences"), "2");
  const Statistics read = load_statistics(dir.path());
  EXPECT_EQ(read.num_sequences, 2);
  EXPECT_EQ(read.num_tokens, statistics.num_tokens);
  EXPECT_TRUE(read.token_counts.equal(statistics.token_counts));
  ASSERT_EQ(read.fisher.size(), model.params.size());
  for (const auto& [name, tensor] : statistics.fisher) {
    EXPECT_TRUE(read.fisher.at(name).equal(tensor)) << name;
  }
}

TEST(Statistics, RefusesWhatDoesNotFit) {
  const Model model = small_model();
  const auto comm = make_single_process_communicator();
  const auto run = [&](const StatisticsConfig& config, const Model& m, std::int64_t vocab) {
    RandomRows rows(6, vocab);
    return testing::error_of([&] { (void)compute_statistics(config, m, rows, *comm); });
  };
  EXPECT_NE(run({.num_sequences = 2}, model, 24).find("vocabulary of 24 tokens"),
            std::string::npos);
  EXPECT_NE(run({.num_sequences = 7}, model, 23).find("the stream has 6"), std::string::npos);
  EXPECT_NE(run({.num_sequences = 1, .first_sequence = 2}, model, 23).find("has a target token"),
            std::string::npos);
  EXPECT_NE(run({.num_sequences = -1}, model, 23).find("must not be negative"), std::string::npos);
  const Model broken{model.config, model.params.clone()};
  broken.params.at("model.norm.weight").fill_(std::nan(""));
  EXPECT_NE(run({.num_sequences = 2}, broken, 23).find("the loss of sequence 0 is"),
            std::string::npos);
  const growmerge::testing::TemporaryDirectory dir;
  ParamMap other;
  other.set("x", at::empty({1}, at::ScalarType::Float).fill_(1.0));
  save_safetensors(dir.path() / "fisher.safetensors", other, {});
  EXPECT_NE(testing::error_of([&] { (void)load_statistics(dir.path()); }).find("format_version"),
            std::string::npos);
}

}  // namespace
}  // namespace growmerge::merging
