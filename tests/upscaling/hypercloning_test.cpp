#include "upscaling/hypercloning.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/transformer/transformer.h"
#include "growth_fixture.h"

namespace growmerge::upscaling {
namespace {

using testing::batch_logits;
using testing::max_abs_difference;
using testing::random_batch;
using testing::random_model;
using testing::rms;
using testing::Shape;

constexpr Shape kShapes[] = {
    {.heads = 4, .kv_heads = 4}, {.heads = 4, .kv_heads = 2}, {.heads = 4, .kv_heads = 1}};

HypercloningConfig form(std::int64_t factor, const char* noise) {
  HypercloningConfig config;
  config.width_factor = factor;
  config.noise = noise;
  config.seed = 11;
  return config;
}

std::string describe(const Shape& shape, const HypercloningConfig& config) {
  return concat("n=", config.width_factor, " kv=", shape.kv_heads, shape.tied ? " tied" : " untied",
                " noise=", config.noise);
}

TEST(Hypercloning, KeepsTheFunctionInFloat64) {
  for (Shape shape : kShapes) {
    for (const bool tied : {true, false}) {
      shape.tied = tied;
      const Model source = random_model(shape, 1);
      const Batch batch = random_batch(3, 17, source.config.vocab_size, 2);
      const at::Tensor expected = batch_logits(source, batch);
      for (const std::int64_t n : {2, 3, 4}) {
        for (const char* noise : {"none", "zero_sum"}) {
          const HypercloningConfig config = form(n, noise);
          const Model grown = grow_width(source, config, at::ScalarType::Double);
          EXPECT_EQ(grown.config.hidden_size, n * source.config.hidden_size);
          EXPECT_EQ(grown.config.num_kv_heads, shape.kv_heads == 1 ? 1 : n * shape.kv_heads);
          EXPECT_LE(max_abs_difference(batch_logits(grown, batch), expected), 1e-10 * rms(expected))
              << describe(shape, config);
        }
      }
    }
  }
}

TEST(Hypercloning, WrittenFloat32StaysWithinItsRounding) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  const Batch batch = random_batch(3, 17, source.config.vocab_size, 2);
  const at::Tensor expected = batch_logits(source, batch);
  for (const std::int64_t n : {2, 3}) {
    const Model grown = grow_width(source, form(n, "zero_sum"), at::ScalarType::Float);
    const Model exact{grown.config, grown.params.to(at::ScalarType::Double)};
    EXPECT_LE(max_abs_difference(batch_logits(exact, batch), expected), 1e-5 * rms(expected)) << n;
  }
}

TEST(Hypercloning, GrownTensorsHaveTheLayoutOfTheGrownConfig) {
  for (Shape shape : kShapes) {
    shape.tied = false;
    const Model grown =
        grow_width(random_model(shape, 1), form(3, "zero_sum"), at::ScalarType::Float);
    grown.config.validate();
    for (const auto& [name, dims, place] : model_tensors(grown.config)) {
      EXPECT_EQ(grown.params.at(name).sizes(), at::IntArrayRef(dims)) << name;
      EXPECT_EQ(grown.params.at(name).scalar_type(), at::ScalarType::Float);
    }
    EXPECT_EQ(grown.params.num_elements(), num_parameters(grown.config));
  }
}

TEST(Hypercloning, TwiceByTwoIsOnceByFourAndUntilesToTheSourcesBits) {
  for (const bool tied : {true, false}) {
    const Model source = random_model({.heads = 4, .kv_heads = 2, .tied = tied}, 3);
    const HypercloningConfig two = form(2, "none");
    const Model twice =
        grow_width(grow_width(source, two, at::ScalarType::Float), two, at::ScalarType::Float);
    const Model once = grow_width(source, form(4, "none"), at::ScalarType::Float);
    for (const auto& [name, tensor] : once.params) {
      EXPECT_TRUE(tensor.equal(twice.params.at(name))) << name;
    }
    const at::Tensor& q = source.params.at("model.layers.0.self_attn.q_proj.weight");
    const at::Tensor block = once.params.at("model.layers.0.self_attn.q_proj.weight")
                                 .slice(0, q.size(0), 2 * q.size(0))
                                 .slice(1, 0, q.size(1));
    EXPECT_TRUE((block.to(at::ScalarType::Double) * 4.0).equal(q));
    EXPECT_EQ(growth_records(twice.config).size(), 2U);
  }
}

// Sum over column blocks against the source, in units of the last place of the largest block.
double worst_zero_sum_error(const at::Tensor& grown, const at::Tensor& source, std::int64_t n) {
  const at::Tensor exact = grown.to(at::ScalarType::Double);
  double worst = 0.0;
  for (std::int64_t row = 0; row < exact.size(0); ++row) {
    for (std::int64_t col = 0; col < source.size(1); ++col) {
      double sum = 0.0;
      float largest = 0.0F;
      for (std::int64_t copy = 0; copy < n; ++copy) {
        const double w =
            exact.const_data_ptr<double>()[row * exact.size(1) + copy * source.size(1) + col];
        sum += w;
        largest = std::max(largest, std::abs(static_cast<float>(w)));
      }
      const double w =
          source.const_data_ptr<double>()[(row % source.size(0)) * source.size(1) + col];
      const float next = std::nextafterf(largest, std::numeric_limits<float>::infinity());
      worst = std::max(worst, std::abs(sum - w) / (static_cast<double>(next) - largest));
    }
  }
  return worst;
}

TEST(Hypercloning, NoiseSumsToZeroWithinOneUlp) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 4);
  for (const std::int64_t n : {2, 3, 4}) {
    const Model grown = grow_width(source, form(n, "zero_sum"), at::ScalarType::Float);
    for (const char* part : {"self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"}) {
      const std::string name = concat("model.layers.1.", part, ".weight");
      EXPECT_LE(worst_zero_sum_error(grown.params.at(name), source.params.at(name), n), 1.0)
          << name << " n=" << n;
    }
  }
}

// Realised SNR in dB of rows [first, first + rows) of a grown tensor.
double realised_snr(const at::Tensor& noisy, const at::Tensor& plain, std::int64_t first,
                    std::int64_t rows) {
  const at::Tensor signal = plain.slice(0, first, first + rows).to(at::ScalarType::Double);
  const at::Tensor noise = noisy.slice(0, first, first + rows).to(at::ScalarType::Double) - signal;
  return 20.0 * std::log10(rms(signal) / rms(noise));
}

TEST(Hypercloning, RealisedSnrIsTheOneAskedForInEveryRowBlockAndHead) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 5);
  for (const std::int64_t n : {2, 3, 4}) {
    for (const double snr : {10.0, 3.0}) {
      HypercloningConfig config = form(n, "zero_sum");
      config.snr_db = snr;
      const Model noisy = grow_width(source, config, at::ScalarType::Float);
      const Model plain = grow_width(source, form(n, "none"), at::ScalarType::Float);
      const std::string q = "model.layers.0.self_attn.q_proj.weight";
      for (std::int64_t head = 0; head < noisy.config.num_heads; ++head) {
        EXPECT_NEAR(realised_snr(noisy.params.at(q), plain.params.at(q), 8 * head, 8), snr, 0.1);
      }
      const std::string down = "model.layers.0.mlp.down_proj.weight";
      for (std::int64_t block = 0; block < n; ++block) {
        EXPECT_NEAR(realised_snr(noisy.params.at(down), plain.params.at(down), 32 * block, 32), snr,
                    0.1);
      }
    }
  }
}

TEST(Hypercloning, NoiseDiffersByRowBlockAndSeedAndSparesEmbeddingNormsAndHead) {
  const Model source = random_model({.heads = 4, .kv_heads = 2, .tied = false}, 6);
  const Model noisy = grow_width(source, form(2, "zero_sum"), at::ScalarType::Float);
  const Model plain = grow_width(source, form(2, "none"), at::ScalarType::Float);
  HypercloningConfig other = form(2, "zero_sum");
  other.seed = 12;
  const Model reseeded = grow_width(source, other, at::ScalarType::Float);
  const Model again = grow_width(source, form(2, "zero_sum"), at::ScalarType::Float);
  for (const auto& [name, tensor] : noisy.params) {
    EXPECT_TRUE(tensor.equal(again.params.at(name))) << name;
    if (tensor_place(name).row->kind == TensorKind::kMatrix) {
      EXPECT_FALSE(tensor.equal(reseeded.params.at(name))) << name;
      const std::int64_t rows = tensor.size(0) / 2;
      EXPECT_FALSE(tensor.slice(0, 0, rows).equal(tensor.slice(0, rows, 2 * rows))) << name;
    } else {
      EXPECT_TRUE(tensor.equal(plain.params.at(name))) << name;
    }
  }
}

TEST(Hypercloning, ThreadsDoNotChangeTheBits) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 6);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Model one = grow_width(source, form(3, "zero_sum"), at::ScalarType::Float);
  at::set_num_threads(4);
  const Model four = grow_width(source, form(3, "zero_sum"), at::ScalarType::Float);
  at::set_num_threads(threads);
  for (const auto& [name, tensor] : one.params) {
    EXPECT_TRUE(tensor.equal(four.params.at(name))) << name;
  }
}

TEST(Hypercloning, HyperLlamaFactorIsFoldedAway) {
  for (const bool tied : {true, false}) {
    Model source = random_model({.heads = 4, .kv_heads = 2, .tied = tied}, 7);
    source.config.architecture = "HyperLlamaForCausalLM";
    source.config.lm_head_normalization_factor = 2.5;
    const Batch batch = random_batch(2, 9, source.config.vocab_size, 2);
    const Model grown = grow_width(source, form(2, "zero_sum"), at::ScalarType::Double);
    EXPECT_EQ(grown.config.architecture, "LlamaForCausalLM");
    EXPECT_EQ(grown.config.lm_head_normalization_factor, 1.0);
    const at::Tensor expected = batch_logits(source, batch);
    EXPECT_LE(max_abs_difference(batch_logits(grown, batch), expected), 1e-10 * rms(expected));
  }
}

// Gradient of a grown tensor's first block over the source's gradient: the factors by which copies
// share the source's gradient (1/n, and 1 where 1/n is folded in).
double gradient_ratio_error(const at::Tensor& grown, const at::Tensor& source, double ratio) {
  at::Tensor block = grown.slice(0, 0, source.size(0));
  if (source.dim() == 2) {
    block = block.slice(1, 0, source.size(1));
  }
  return max_abs_difference(block, source * ratio) / rms(source);
}

TEST(Hypercloning, GradientsAreSharedAmongTheCopies) {
  for (const bool tied : {true, false}) {
    const Model source = random_model({.heads = 4, .kv_heads = 2, .tied = tied}, 8);
    const Batch batch = random_batch(3, 13, source.config.vocab_size, 2);
    const ParamMap small = source.params.zeros_like(at::ScalarType::Double);
    (void)loss_and_gradients(source.config, source.params, batch, 1.0, small, {});
    for (const std::int64_t n : {2, 3, 4}) {
      const Model grown = grow_width(source, form(n, "none"), at::ScalarType::Double);
      const ParamMap big = grown.params.zeros_like(at::ScalarType::Double);
      (void)loss_and_gradients(grown.config, grown.params, batch, 1.0, big, {});
      for (const auto& [name, gradient] : small) {
        const TensorKind kind = tensor_place(name).row->kind;
        const bool whole =
            kind == TensorKind::kHead || (kind == TensorKind::kFinalNormGain && tied);
        const double ratio = whole ? 1.0 : 1.0 / static_cast<double>(n);
        EXPECT_LT(gradient_ratio_error(big.at(name), gradient, ratio), 1e-9)
            << name << " n=" << n << (tied ? " tied" : " untied");
      }
    }
  }
}

TEST(Hypercloning, RecordStandsInTheConfigAndSurvivesAFile) {
  const Model source = random_model({.heads = 4, .kv_heads = 1}, 1);
  const ModelConfig grown = grown_config(source.config, form(3, "zero_sum"), "abc");
  const ModelConfig read = parse_model_config(model_config_json(grown, "float32"), "config.json");
  const std::vector<GrowthRecord> records = growth_records(read);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].width_factor, 3);
  EXPECT_EQ(records[0].noise, "zero_sum");
  EXPECT_EQ(records[0].snr_db, 10.0);
  EXPECT_EQ(records[0].seed, 11);
  EXPECT_EQ(records[0].source_identity, "abc");
  EXPECT_EQ(records[0].source_num_kv_heads, 1);
  EXPECT_EQ(read.num_kv_heads, 1);
  EXPECT_TRUE(growth_records(source.config).empty());
}

TEST(Hypercloning, RefusesWhatItDoesNotUnderstand) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  EXPECT_THROW((void)grow_width(source, form(0, "none"), at::ScalarType::Float), Error);
  EXPECT_THROW((void)grow_width(source, form(2, "gaussian"), at::ScalarType::Float), Error);
  const auto message = [&](const std::string& name, const at::Tensor& tensor) -> std::string {
    try {
      (void)grow_tensor(source.config, form(2, "none"), name, tensor, at::ScalarType::Float);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  const at::Tensor& q = source.params.at("model.layers.0.self_attn.q_proj.weight");
  EXPECT_NE(message("model.layers.0.self_attn.q_norm.weight", q).find("table of axes"),
            std::string::npos);
  EXPECT_NE(message("model.layers.x.mlp.up_proj.weight", q).find("table of axes"),
            std::string::npos);
  EXPECT_NE(message("model.layers.0.mlp.up_proj.weight", q).find("its config says [40, 32]"),
            std::string::npos);
  ModelConfig odd = source.config;
  odd.source_json = R"({"growmerge_growth": [{"width_factor": 2}]})";
  EXPECT_THROW((void)growth_records(odd), Error);
  for (const char* records : {"5", "{}", "\"x\"", "[{}]"}) {
    odd.source_json = std::string(R"({"growmerge_growth": )") + records + "}";
    EXPECT_THROW((void)grown_config(odd, form(2, "none"), ""), Error) << records;
  }
}

}  // namespace
}  // namespace growmerge::upscaling
