#include "upscaling/certificate.h"

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
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
  return certify_growth(source, grown, config, random_sequences(config, source.config.vocab_size));
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

TEST(Certificate, DetectsInterleavedQueryHeads) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  for (const char* noise : {"none", "zero_sum"}) {
    const Model grown = grow_width(source, form(2, noise), at::ScalarType::Float);
    interleave_query_heads(grown, 2);
    const Certificate c = certify(source, grown);
    ASSERT_EQ(c.checks.size(), 3U);
    for (const PrecisionCheck& check : c.checks) {
      EXPECT_FALSE(check.passed) << check.arithmetic;
    }
    EXPECT_NE(c.failure().find("in float64 the logits differ"), std::string::npos);
  }
}

TEST(Certificate, DetectsAnUndividedDownProjection) {
  const Model source = random_model({.heads = 4, .kv_heads = 2}, 1);
  const Model grown = grow_width(source, form(2, "zero_sum"), at::ScalarType::Float);
  grown.params.at("model.layers.1.mlp.down_proj.weight").mul_(2.0);
  const Certificate c = certify(source, grown);
  for (const PrecisionCheck& check : c.checks) {
    EXPECT_FALSE(check.passed) << check.arithmetic;
  }
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
  EXPECT_THROW((void)certify_growth(source, grown, config, {}), Error);
  EXPECT_THROW((void)certify_growth(source, grown, config, {{1}}), Error);
  EXPECT_THROW((void)certify_growth(source, grown, config, {{1, 61}}), Error);
  Model other = grown;
  other.config.vocab_size = 60;
  EXPECT_THROW((void)certify_growth(source, other, config, {{1, 2}}), Error);
}

}  // namespace
}  // namespace growmerge::upscaling
