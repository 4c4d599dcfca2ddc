#include "upscaling/certificate.h"

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "growth_fixture.h"
#include "upscaling/hypercloning.h"

namespace growmerge::upscaling {
namespace {

using testing::random_model;
using testing::Shape;

HypercloningConfig form(std::int64_t factor, const char* noise) {
  HypercloningConfig config;
  config.width_factor = factor;
  config.noise = noise;
  return config;
}

Certificate certify(const Model& source, const Model& grown) {
  const CertificateConfig config;
  return certify_growth(source_of(source), source_of(grown), config,
                        random_sequences(config, source.config.vocab_size));
}

TEST(Certificate, PassesWhatWasWrittenInEachDtype) {
  for (const std::int64_t kv : {4, 2, 1}) {
    const Model source = random_model({.heads = 4, .kv_heads = kv, .tied = kv != 2}, 1);
    for (const std::int64_t n : {2, 3}) {
      for (const char* noise : {"none", "zero_sum"}) {
        for (const at::ScalarType dtype :
             {at::ScalarType::Double, at::ScalarType::Float, at::ScalarType::BFloat16}) {
          const Certificate c = certify(source, grow_width(source, form(n, noise), dtype));
          EXPECT_TRUE(c.passed()) << "n=" << n << " kv=" << kv << " " << noise << " "
                                  << c.written_dtype << ": " << c.failure();
        }
      }
    }
  }
}

// Query heads repeated inside their group (h0 h0 h1 h1) instead of in blocks (h0 h1 h0 h1), while
// KV heads are in blocks: every copy then reads a wrong KV head.
void interleave_query_heads(const Model& grown, std::int64_t n) {
  for (const auto& [name, tensor] : grown.params) {
    const bool q = name.find("q_proj") != std::string::npos;
    const bool o = name.find("o_proj") != std::string::npos;
    if (!q && !o) {
      continue;
    }
    const std::int64_t dim = q ? 0 : 1;
    const std::int64_t heads = grown.config.num_heads / n;
    std::vector<at::Tensor> parts;
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t copy = 0; copy < n; ++copy) {
        parts.push_back(tensor.narrow(dim, (copy * heads + head) * grown.config.head_dim,
                                      grown.config.head_dim));
      }
    }
    tensor.copy_(at::cat(parts, dim));
  }
}

TEST(Certificate, DetectsInterleavedQueryHeadsInEachWrittenDtype) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  for (const at::ScalarType dtype : {at::ScalarType::Float, at::ScalarType::BFloat16}) {
    for (const char* noise : {"none", "zero_sum"}) {
      const Model grown = grow_width(source, form(2, noise), dtype);
      interleave_query_heads(grown, 2);
      const Certificate c = certify(source, grown);
      ASSERT_EQ(c.checks.size(), 3U);
      for (const PrecisionCheck& check : c.checks) {
        EXPECT_FALSE(check.passed) << check.arithmetic << ", written in " << c.written_dtype;
      }
      EXPECT_NE(c.failure().find("in float64 the logits differ"), std::string::npos);
    }
  }
}

TEST(Certificate, DetectsSwappedKeyAndValueHeadsInEachWrittenDtype) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  for (const at::ScalarType dtype : {at::ScalarType::Float, at::ScalarType::BFloat16}) {
    const Model grown = grow_width(source, form(2, "zero_sum"), dtype);
    const std::int64_t h = grown.config.head_dim;
    for (const char* part : {"k_proj", "v_proj"}) {
      const at::Tensor& weight =
          grown.params.at(std::string("model.layers.0.self_attn.") + part + ".weight");
      const at::Tensor first = weight.narrow(0, 0, h).clone();
      weight.narrow(0, 0, h).copy_(weight.narrow(0, h, h));
      weight.narrow(0, h, h).copy_(first);
    }
    const Certificate c = certify(source, grown);
    EXPECT_FALSE(c.passed()) << c.written_dtype;
  }
}

TEST(Certificate, DetectsAnUndividedDownProjectionInEachWrittenDtype) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  for (const at::ScalarType dtype : {at::ScalarType::Float, at::ScalarType::BFloat16}) {
    const Model grown = grow_width(source, form(2, "zero_sum"), dtype);
    grown.params.at("model.layers.1.mlp.down_proj.weight").mul_(2.0);
    const Certificate c = certify(source, grown);
    for (const PrecisionCheck& check : c.checks) {
      EXPECT_FALSE(check.passed) << check.arithmetic << ", written in " << c.written_dtype;
    }
  }
}

// Sequences that hold token 1 alone say nothing of the other ids.
TEST(Certificate, DetectsSwappedRowsOfTokensThatNoSequenceHolds) {
  const CertificateConfig config;
  const TokenSequences sequences = {{1, 1, 1, 1}};
  for (const bool tied : {true, false}) {
    const Model source = random_model({.heads = 4, .kv_heads = 2, .tied = tied}, 1);
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
      if (tied && std::string(name) == "lm_head.weight") {
        continue;
      }
      const Model grown = grow_width(source, form(2, "none"), at::ScalarType::BFloat16);
      EXPECT_TRUE(certify_growth(source_of(source), source_of(grown), config, sequences).passed());
      const at::Tensor& weight = grown.params.at(name);
      const at::Tensor row = weight[40].clone();
      weight[40].copy_(weight[41]);
      weight[41].copy_(row);
      const Certificate c = certify_growth(source_of(source), source_of(grown), config, sequences);
      EXPECT_FALSE(c.passed()) << name;
      const RowCheck& check = c.rows.at(std::string(name) == "lm_head.weight" ? 1 : 0);
      EXPECT_FALSE(check.passed) << name;
      EXPECT_TRUE(check.worst_row == 40 || check.worst_row == 41) << check.worst_row;
      EXPECT_GT(check.excess, 1.0);
    }
  }
}

// The division by n may stand in the head, in the final norm or in the normalisation factor.
TEST(Certificate, TheHeadsDivisionMayStandAnywhere) {
  const Model source = random_model({.heads = 4, .kv_heads = 2, .tied = false}, 1);
  Model grown = grow_width(source, form(2, "none"), at::ScalarType::Float);
  grown.params.at("lm_head.weight").mul_(2.0);
  EXPECT_FALSE(certify(source, grown).rows.at(1).passed);
  grown.config.architecture = "HyperLlamaForCausalLM";
  grown.config.lm_head_normalization_factor = 2.0;
  const Certificate c = certify(source, grown);
  EXPECT_TRUE(c.passed()) << c.failure();
}

TEST(Certificate, DetectsATiedHeadWhoseGainWasNotDivided) {
  const Model source = random_model({.heads = 4, .kv_heads = 4}, 1);
  const Model grown = grow_width(source, form(2, "none"), at::ScalarType::Float);
  grown.params.at("model.norm.weight").mul_(2.0);
  EXPECT_FALSE(certify(source, grown).passed());
}

TEST(Certificate, NeverPassesNaN) {
  const Model source = random_model({.heads = 4, .kv_heads = 4}, 1);
  const Model grown = grow_width(source, form(2, "none"), at::ScalarType::Float);
  grown.params.at("model.norm.weight").fill_(std::nan(""));
  const Certificate c = certify(source, grown);
  for (const PrecisionCheck& check : c.checks) {
    EXPECT_FALSE(check.passed) << check.arithmetic;
  }
}

TEST(Certificate, JsonSaysWhatWasMeasured) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  const Certificate c = certify(source, grow_width(source, form(2, "none"), at::ScalarType::Float));
  const nlohmann::json json = nlohmann::json::parse(c.json());
  EXPECT_TRUE(json.at("passed").get<bool>());
  EXPECT_EQ(json.at("written_dtype"), "float32");
  EXPECT_EQ(json.at("num_tokens"), 4 * 64);
  ASSERT_EQ(json.at("checks").size(), 3U);
  EXPECT_EQ(json.at("checks")[2].at("arithmetic"), "bfloat16");
  EXPECT_GT(json.at("checks")[2].at("source_error").get<double>(), 0.0);
  // Halving is exact, so that float64 arithmetic sees next to no difference even on float32.
  EXPECT_LE(json.at("checks")[0].at("logit_difference").get<double>(), 1e-10);
}

TEST(Certificate, RefusesWhatCannotBeCompared) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  const Model grown = grow_width(source, form(2, "none"), at::ScalarType::Float);
  const CertificateConfig config;
  EXPECT_THROW((void)certify_growth(source_of(source), source_of(grown), config, {}), Error);
  EXPECT_THROW((void)certify_growth(source_of(source), source_of(grown), config, {{1}}), Error);
  EXPECT_THROW((void)certify_growth(source_of(source), source_of(grown), config, {{1, 61}}), Error);
  Model other = grown;
  other.config.vocab_size = 60;
  EXPECT_THROW((void)certify_growth(source_of(source), source_of(other), config, {{1, 2}}), Error);
  EXPECT_THROW((void)certify_growth(source_of(grown), source_of(source), config, {{1, 2}}), Error)
      << "wrong order";
}

}  // namespace
}  // namespace growmerge::upscaling
