// Adapters: tiles of the product, and what is refused. Values: tests/reference/recipe_reference.py.
#include "merging/adapter/adapter.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

TEST(LowRank, TilesBeginAnywhere) {
  LowRank product;
  product.rank = 1;
  product.rows = 2;
  product.columns = 3;
  product.scale = 2.0F;
  product.a = {1, 2, 3};
  product.b = {1, 10};
  std::vector<float> all(6, 0.5F);
  product.add_to(0, 6, all.data());
  EXPECT_EQ(all, (std::vector<float>{2.5F, 4.5F, 6.5F, 20.5F, 40.5F, 60.5F}));
  std::vector<float> part(3, 0.0F);
  product.add_to(2, 3, part.data());
  EXPECT_EQ(part, (std::vector<float>{6, 20, 40}));
}

TEST(Adapter, RefusesByName) {
  const testing::TemporaryDirectory dir;
  ModelConfig config;
  config.vocab_size = 8;
  config.hidden_size = 8;
  config.intermediate_size = 8;
  config.num_layers = 1;
  config.num_heads = 2;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  fs::create_directories(dir.path() / "model");
  save_model(dir.path() / "model", init_model(config, 1), {});
  const CheckpointReader model = CheckpointReader::open(dir.path() / "model");
  const auto open = [&](const std::string& extra, const std::string& module) {
    std::ofstream(dir.path() / "adapter_config.json")
        << R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4)" << extra << "}";
    ParamMap tensors;
    tensors.set("base_model.model." + module + ".lora_A.weight", at::ones({2, 8}));
    tensors.set("base_model.model." + module + ".lora_B.weight", at::ones({8, 2}));
    save_safetensors(dir.path() / "adapter_model.safetensors", tensors, {});
    return Adapter::open(dir.path(), model);
  };
  const std::string query = "model.layers.0.self_attn.q_proj";
  const Adapter good = open("", query);
  ASSERT_NE(good.find_product(query + ".weight"), nullptr);
  EXPECT_FLOAT_EQ(good.find_product(query + ".weight")->scale, 2.0F);
  EXPECT_EQ(good.find_product("model.norm.weight"), nullptr);
  EXPECT_ERROR(open(R"(, "use_dora": true)", query), kUnsupported, "DoRA");
  EXPECT_ERROR(open(R"(, "init_lora_weights": "pissa_niter_4")", query), kUnsupported, "pissa");
  EXPECT_ERROR(open(R"(, "peft_type": "IA3")", query), kUnsupported, "IA3");
  EXPECT_ERROR(open(R"(, "peft_type": 7)", query), kUnsupported, "peft_type 7");
  EXPECT_ERROR(open(R"(, "rank_pattern": {"q_proj": 5})", query), kMismatch, "rank 2", "says 5");
  EXPECT_ERROR(open(R"(, "rank_pattern": {"q_proj(": 5})", query), kCorrupt, "'q_proj('");
  EXPECT_ERROR(open("", "model.layers.7.self_attn.q_proj"), kMismatch, "does not have");
  EXPECT_ERROR(Adapter::open(dir.path() / "model", model), kNotFound, "adapter_config.json");
}

}  // namespace
}  // namespace growmerge::merging
