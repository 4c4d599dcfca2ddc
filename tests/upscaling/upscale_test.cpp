#include "upscaling/upscale.h"
#include "core/base/files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/store/manifest.h"
#include "core/store/safetensors.h"
#include "growth_fixture.h"
#include "tests/support/paths.h"

namespace growmerge::upscaling {
namespace {

using testing::random_model;

std::filesystem::path write_source(const std::filesystem::path& root, bool tied) {
  const std::filesystem::path dir = root / "source";
  std::filesystem::create_directories(dir);
  const Model source = random_model({.heads = 4, .kv_heads = 2, .tied = tied}, 1);
  save_model(dir, source, {.dtype = at::ScalarType::Float});
  std::ofstream(dir / "generation_config.json") << "{\"bos_token_id\": 1}\n";
  return dir;
}

TEST(Upscale, WritesAGrownDirectoryWithItsCertificate) {
  for (const bool tied : {true, false}) {
    const testing::TemporaryDirectory root;
    const std::filesystem::path source = write_source(root.path(), tied);
    const std::filesystem::path out = root.path() / "grown";
    std::filesystem::create_directories(out);
    const UpscaleResult result = upscale_checkpoint({}, source, out, {{5, 6, 7, 8}});
    EXPECT_TRUE(result.certificate.passed());
    EXPECT_EQ(result.certificate.num_sequences, 5);
    EXPECT_EQ(result.notes.at("grown_from"), path_identity(source));
    EXPECT_EQ(result.notes.at("growth.width_factor"), "2");
    EXPECT_EQ(result.notes.at("growth.noise"), "zero_sum");
    EXPECT_EQ(result.notes.at("growth.snr_db"), "10");
    const Model grown = load_model(out, at::ScalarType::Float);
    EXPECT_EQ(grown.config.hidden_size, 64);
    EXPECT_EQ(growth_records(grown.config).at(0).source_identity, path_identity(source));
    EXPECT_TRUE(std::filesystem::exists(out / "generation_config.json"));
    const nlohmann::json certificate = nlohmann::json::parse(read_file(out / "certificate.json"));
    EXPECT_TRUE(certificate.at("passed").get<bool>());
  }
}

TEST(Upscale, WritesBfloat16WhereAskedTo) {
  const testing::TemporaryDirectory root;
  const std::filesystem::path source = write_source(root.path(), true);
  const std::filesystem::path out = root.path() / "grown";
  std::filesystem::create_directories(out);
  UpscaleConfig config;
  config.save_dtype = "bfloat16";
  const UpscaleResult result = upscale_checkpoint(config, source, out);
  EXPECT_EQ(result.certificate.written_dtype, "bfloat16");
  EXPECT_EQ(CheckpointReader::open(out).dtype(), at::ScalarType::BFloat16);
}

TEST(Upscale, AMissedCertificateIsAMismatchThatNamesPrecisionAndFile) {
  const testing::TemporaryDirectory root;
  const std::filesystem::path source = write_source(root.path(), true);
  const std::filesystem::path out = root.path() / "grown";
  std::filesystem::create_directories(out);
  UpscaleConfig config;
  config.growth.width_factor = 3;
  config.certificate.f32_factor = 0.0;  // nothing is allowed
  config.certificate.f32_tolerance = 0.0;
  try {
    (void)upscale_checkpoint(config, source, out);
    FAIL() << "a certificate without tolerance must fail";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kMismatch);
    EXPECT_NE(std::string(e.what()).find("in float64 the logits differ"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("certificate.json"), std::string::npos);
  }
  const nlohmann::json certificate = nlohmann::json::parse(read_file(out / "certificate.json"));
  EXPECT_FALSE(certificate.at("passed").get<bool>());
}

TEST(Upscale, PlanCountsParametersAndBytes) {
  const testing::TemporaryDirectory root;
  const UpscaleConfig defaults;
  const UpscalePlan plan = plan_upscale(defaults, write_source(root.path(), false));
  EXPECT_EQ(plan.grown.hidden_size, 2 * plan.source.hidden_size);
  EXPECT_EQ(plan.grown_parameters, num_parameters(plan.grown));
  EXPECT_EQ(plan.output_bytes, 4 * plan.grown_parameters);
}

TEST(Upscale, RefusesAnUnknownDtype) {
  UpscaleConfig config;
  config.save_dtype = "float16";
  EXPECT_THROW(config.validate(), Error);
}

}  // namespace
}  // namespace growmerge::upscaling
