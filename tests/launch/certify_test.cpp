// `growmerge certify` on directories that upscale wrote, and on one that was broken afterwards.
#include <gtest/gtest.h>

#include "core/model/checkpoint.h"
#include "run_binary.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

using testing::growmerge;

TEST(Certify, SaysWhetherAnyTwoDirectoriesComputeTheSame) {
  const testing::TemporaryDirectory dir;
  const std::string source = (dir.path() / "source").string();
  const std::string grown = (dir.path() / "grown").string();
  ModelConfig config;
  config.vocab_size = 300;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 1;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.initializer_range = 0.2;
  std::filesystem::create_directories(source);
  save_model(source, init_model(config, 1), {});
  const auto upscaled =
      growmerge("upscale " + source + " --out " + grown + " --set save_dtype=bfloat16");
  ASSERT_EQ(upscaled.code, 0) << upscaled.output;
  const auto good = growmerge("certify " + source + " " + grown);
  EXPECT_EQ(good.code, 0) << good.output;
  EXPECT_TRUE(good.says("\"passed\": true")) << good.output;
  EXPECT_TRUE(good.says("\"written_dtype\": \"bfloat16\"")) << good.output;

  const Model model = load_model(grown, at::ScalarType::BFloat16);
  model.params.at("model.layers.0.mlp.down_proj.weight").mul_(2.0);
  const std::string broken = (dir.path() / "broken").string();
  std::filesystem::create_directories(broken);
  save_model(broken, model, {.dtype = at::ScalarType::BFloat16});
  const auto bad = growmerge("certify " + source + " " + broken);
  EXPECT_NE(bad.code, 0);
  EXPECT_TRUE(bad.says("does not compute what")) << bad.output;
  EXPECT_TRUE(bad.says("\"passed\": false")) << bad.output;

  EXPECT_NE(growmerge("certify " + source).code, 0) << "two directories are needed";
}

}  // namespace
}  // namespace growmerge
