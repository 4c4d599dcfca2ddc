#include "upscaling/symmetry.h"

#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/ops/adamw.h"
#include "core/transformer/transformer.h"
#include "growth_fixture.h"

namespace growmerge::upscaling {
namespace {

using testing::random_batch;
using testing::random_model;

Model grow(const Model& source, std::int64_t factor, const char* noise, at::ScalarType dtype) {
  HypercloningConfig config;
  config.width_factor = factor;
  config.noise = noise;
  return grow_width(source, config, dtype);
}

Symmetry measure(const Model& grown) {
  return measure_symmetry(grown.config, growth_records(grown.config).back(), grown.params);
}

// Deterministic training on fresh random batches; calls the observer after every step.
std::vector<std::map<std::string, double>> train(const Model& model, std::int64_t steps,
                                                 StepObserver& observer) {
  const AdamWConfig config;
  AdamWState state = make_adamw_state(model.params);
  std::vector<std::map<std::string, double>> metrics;
  for (std::int64_t step = 1; step <= steps; ++step) {
    const Batch batch =
        random_batch(4, 16, model.config.vocab_size, static_cast<std::uint64_t>(step));
    const ParamMap grads = model.params.zeros_like(model.params.begin()->second.scalar_type());
    const double scale = 1.0 / static_cast<double>(batch.num_targets());
    (void)loss_and_gradients(model.config, model.params, batch, scale, grads, {});
    adamw_step_(model.params, grads, state, 1e-3, 1.0, config, {});
    metrics.emplace_back();
    observer.after_step({.step = step}, model.params, metrics.back());
  }
  return metrics;
}

// Sizes are whole tiles of the matrix products, so that equal columns give equal bits wherever they
// stand; with ragged ones, rounding at the edge of a tile separates clones by 1e-17 at first.
TEST(Symmetry, ClonesWithoutNoiseNeverMoveApart) {
  const Model source =
      random_model({.heads = 12, .kv_heads = 6, .layers = 1, .ffn = 192, .vocab = 96}, 1);
  for (const at::ScalarType dtype : {at::ScalarType::Double, at::ScalarType::Float}) {
    const Model grown = grow(source, 2, "none", dtype);
    const auto observer =
        make_symmetry_observer(grown.config, growth_records(grown.config).back(), 50);
    ::testing::internal::CaptureStderr();
    const auto metrics = train(grown, 100, *observer);
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_TRUE(metrics[48].empty());
    EXPECT_EQ(metrics[99].at("asymmetry/all"), 0.0);
    EXPECT_EQ(metrics[99].at("asymmetry/q_proj"), 0.0);
    EXPECT_EQ(metrics[99].at("asymmetry/embed_tokens"), 0.0);
    EXPECT_EQ(metrics[99].at("asymmetry/cloning_r2"), 1.0);
    EXPECT_NE(log.find("still equals the small one"), std::string::npos) << log;
  }
}

TEST(Symmetry, NoiseMovesClonesApart) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  const Model grown = grow(source, 2, "zero_sum", at::ScalarType::Double);
  const Symmetry before = measure(grown);
  EXPECT_EQ(before.asymmetry.at("embed_tokens"), 0.0);
  const auto observer =
      make_symmetry_observer(grown.config, growth_records(grown.config).back(), 1);
  ::testing::internal::CaptureStderr();
  const auto metrics = train(grown, 20, *observer);
  EXPECT_EQ(::testing::internal::GetCapturedStderr().find("still equals"), std::string::npos);
  EXPECT_GT(metrics[1].at("asymmetry/all"), 0.1);
  EXPECT_GT(metrics[19].at("asymmetry/embed_tokens"), 0.0);
  EXPECT_LT(metrics[19].at("asymmetry/cloning_r2"), 1.0);
}

TEST(Symmetry, AsymmetryOfNoiseFollowsItsSnr) {
  const Model source = random_model({.heads = 4, .kv_heads = 1}, 2);
  for (const std::int64_t n : {2, 3, 4}) {
    const Symmetry s = measure(grow(source, n, "zero_sum", at::ScalarType::Float));
    // |noise|^2 / (|signal|^2 + |noise|^2) with 10 dB: the mean block keeps a little of the noise.
    const double expected = std::sqrt(0.1 / 1.1);
    EXPECT_NEAR(s.asymmetry.at("all"), expected, 0.03) << n;
    EXPECT_NEAR(s.cloning_r2, 1.0 - 0.1 / 1.1, 0.03) << n;
    EXPECT_EQ(measure(grow(source, n, "none", at::ScalarType::Float)).asymmetry.at("all"), 0.0);
  }
}

TEST(Symmetry, UnrelatedBlocksScoreAboutOne) {
  const Model source = random_model({.heads = 4, .kv_heads = 4}, 3);
  Model grown = grow(source, 2, "none", at::ScalarType::Float);
  const Model fresh = random_model({.heads = 8, .kv_heads = 8}, 4);
  grown.params.set("model.layers.0.self_attn.q_proj.weight",
                   fresh.params.at("model.layers.0.self_attn.q_proj.weight"));
  grown.params.set("model.layers.1.self_attn.q_proj.weight",
                   fresh.params.at("model.layers.1.self_attn.q_proj.weight"));
  // Four unrelated blocks: 3/4 of the power lies around their mean.
  EXPECT_NEAR(measure(grown).asymmetry.at("q_proj"), std::sqrt(0.75), 0.03);
  EXPECT_EQ(measure(grown).asymmetry.at("k_proj"), 0.0);
}

TEST(Symmetry, RefusesARecordOfAnotherModel) {
  const Model grown =
      grow(random_model({.heads = 4, .kv_heads = 2}, 1), 2, "none", at::ScalarType::Float);
  GrowthRecord record = growth_records(grown.config).back();
  EXPECT_THROW((void)make_symmetry_observer(grown.config, record, 0), Error);
  record.width_factor = 3;
  EXPECT_THROW((void)make_symmetry_observer(grown.config, record, 1), Error);
}

}  // namespace
}  // namespace growmerge::upscaling
