#include "core/model/checkpoint.h"
#include "core/base/files.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

ModelConfig small_config(bool tied) {
  ModelConfig c;
  c.vocab_size = 40;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_layers = 2;
  c.num_heads = 4;
  c.num_kv_heads = 2;
  c.head_dim = 4;
  c.tie_word_embeddings = tied;
  return c;
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

class CheckpointTest : public ::testing::Test {
 protected:
  /// The small model's tensors after `change`, with its config.json.
  void write(const std::function<void(ParamMap&)>& change, bool tied = true) {
    const Model model = init_model(small_config(tied), 1);
    ParamMap tensors = model.params.clone();
    change(tensors);
    save_safetensors(dir_.path() / "model.safetensors", tensors, {{"format", "pt"}});
    write_text(dir_.path() / "config.json", model_config_json(model.config, "float32"));
  }
  TemporaryDirectory dir_;
};

TEST_F(CheckpointTest, RoundTripsTiedAndUntied) {
  for (const bool tied : {true, false}) {
    const Model model = init_model(small_config(tied), 3);
    save_model(dir_.path(), model, {});
    const Model loaded = load_model(dir_.path(), at::kFloat);
    ASSERT_EQ(loaded.params.names(), model.params.names());
    for (const auto& [name, tensor] : model.params) {
      EXPECT_TRUE(at::equal(loaded.params.at(name), tensor)) << name;
    }
    EXPECT_EQ(loaded.config.tie_word_embeddings, tied);
    EXPECT_EQ(CheckpointReader::open(dir_.path()).dtype(), at::kFloat);
  }
}

TEST_F(CheckpointTest, ShardsWithIndexRoundTrip) {
  const Model model = init_model(small_config(false), 3);
  save_model(dir_.path(), model, {.dtype = at::kBFloat16, .shard_bytes = 3000});
  EXPECT_FALSE(fs::exists(dir_.path() / "model.safetensors"));
  EXPECT_TRUE(fs::exists(dir_.path() / "model.safetensors.index.json"));
  const CheckpointReader reader = CheckpointReader::open(dir_.path());
  EXPECT_EQ(reader.dtype(), at::kBFloat16);
  const Model loaded = load_model(dir_.path(), at::kBFloat16);
  for (const auto& [name, tensor] : model.params) {
    EXPECT_TRUE(at::equal(loaded.params.at(name), tensor.to(at::kBFloat16))) << name;
    std::uint64_t bytes = 0;
    for (const TensorInfo& info : reader.file(name).tensors()) {
      bytes += info.num_bytes();
    }
    EXPECT_LE(bytes, 3000U);
  }
  const std::string index = read_file(dir_.path() / "model.safetensors.index.json");
  const auto damaged = [&](const std::string& from, const std::string& to) {
    std::string text = index;
    text.replace(text.find(from), from.size(), to);
    write_text(dir_.path() / "model.safetensors.index.json", text);
  };
  damaged("\"model.norm.weight\"", "\"model.other\"");
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kCorrupt, "model.");
  damaged("\"model-00001-of", "\"../model-00001-of");
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kCorrupt, "points out of the directory");
  damaged("\"weight_map\"", "\"weights\"");
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kCorrupt, "weight_map");
  write_text(dir_.path() / "model.safetensors.index.json", "{");
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kCorrupt, "not valid JSON");
  write_text(dir_.path() / "model.safetensors.index.json", index);
  fs::remove(dir_.path() / reader.file("model.norm.weight").path().filename());
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kNotFound, "model-0");
}

TEST_F(CheckpointTest, ATiedHeadInTheFileMustEqualTheEmbedding) {
  write([](ParamMap& t) { t.set("lm_head.weight", t.at("model.embed_tokens.weight").clone()); });
  const CheckpointReader reader = CheckpointReader::open(dir_.path());
  EXPECT_EQ(reader.tensors().size(), model_tensors(reader.config()).size());
  write([](ParamMap& t) { t.set("lm_head.weight", at::rand({40, 16})); });
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kMismatch, "different lm_head.weight",
               "tie_word_embeddings");
}

TEST_F(CheckpointTest, MissingUnexpectedAndMisshapenTensors) {
  write([](ParamMap& t) {
    ParamMap fewer;
    for (const auto& [name, tensor] : t) {
      if (name != "model.norm.weight") {
        fewer.set(name, tensor);
      }
    }
    t = fewer;
  });
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kMismatch, "'model.norm.weight' [16]",
               "missing");
  write([](ParamMap& t) { t.set("model.norm.weight", at::zeros({17})); });
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kMismatch, "'model.norm.weight'", "[17]",
               "[16]");
  write([](ParamMap& t) { t.set("model.norm.weigth", at::zeros({16})); });
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kMismatch, "unexpected tensor",
               "nearest name is 'model.norm.weight'");
  write([](ParamMap& t) { t.set("model.norm.weight", at::zeros({16}).to(at::kChar)); });
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kUnsupported, "'model.norm.weight'", "int8");
  write([](ParamMap& t) { t.set("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({2})); });
  EXPECT_EQ(CheckpointReader::open(dir_.path()).tensors().size(), 20U);
}

TEST_F(CheckpointTest, UntiedWithoutHeadSaysWhatToDo) {
  write([](ParamMap&) {}, true);
  write_text(dir_.path() / "config.json", model_config_json(small_config(false), "float32"));
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kMismatch, "'lm_head.weight'",
               "\"tie_word_embeddings\": true");
}

TEST_F(CheckpointTest, PicklesAndLoneTokenizerModelsAreRefused) {
  EXPECT_ERROR(CheckpointReader::open(dir_.path() / "no"), kNotFound, "no model directory");
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kNotFound, "config.json");
  write_text(dir_.path() / "config.json", model_config_json(small_config(true), "float32"));
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kNotFound, "model.safetensors");
  EXPECT_ERROR(CheckpointReader::open(dir_.path() / "config.json"), kNotFound, "no directory");
  write_text(dir_.path() / "pytorch_model.bin", "x");
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kUnsupported, "pytorch_model.bin",
               "save_pretrained");
  write([](ParamMap&) {});
  write_text(dir_.path() / "tokenizer.model", "x");
  EXPECT_ERROR(CheckpointReader::open(dir_.path()), kUnsupported, "tokenizer.model",
               "tokenizer.json");
  write_text(dir_.path() / "tokenizer.json", "{}");
  EXPECT_EQ(CheckpointReader::open(dir_.path()).tensors().size(), 20U);
}

TEST_F(CheckpointTest, NonFiniteWeightsAreRefusedBothWays) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    write([&](ParamMap& t) { t.at(name)[3][5] = bad; });
    EXPECT_ERROR(load_model(dir_.path(), at::kFloat), kCorrupt, name, "NaN or infinity", "loading");
  }
  Model model = init_model(small_config(true), 1);
  model.params.at(name)[0][0] = 1e6F;
  const std::string before = read_file(dir_.path() / "model.safetensors");
  EXPECT_ERROR(save_model(dir_.path(), model, {.dtype = at::kHalf}), kCorrupt, name, "saving");
  EXPECT_EQ(read_file(dir_.path() / "model.safetensors"), before);
  save_model(dir_.path(), model, {.dtype = at::kFloat});
  EXPECT_ERROR(load_model(dir_.path(), at::kHalf), kCorrupt, name, "float16");
}

TEST_F(CheckpointTest, SavingAWrongShapeIsRefused) {
  Model model = init_model(small_config(true), 1);
  model.config.hidden_size = 32;
  EXPECT_ERROR(save_model(dir_.path(), model, {}), kMismatch, "model.embed_tokens.weight");
}

TEST_F(CheckpointTest, CompanionsAreCarriedAlong) {
  const TemporaryDirectory source;
  for (const char* name : {"tokenizer.json", "generation_config.json", "chat_template.jinja",
                           "README.md", "config.json"}) {
    write_text(source.path() / name, name);
  }
  save_model(dir_.path(), init_model(small_config(true), 1), {.companions_from = source.path()});
  EXPECT_EQ(read_file(dir_.path() / "tokenizer.json"), "tokenizer.json");
  EXPECT_EQ(read_file(dir_.path() / "chat_template.jinja"), "chat_template.jinja");
  EXPECT_FALSE(fs::exists(dir_.path() / "README.md"));
  EXPECT_NE(read_file(dir_.path() / "config.json"), "config.json");
}

TEST(InitModel, IsAPureFunctionOfConfigAndSeed) {
  ModelConfig config = small_config(false);
  const Model a = init_model(config, 5);
  const Model b = init_model(config, 5);
  const Model c = init_model(config, 6);
  for (const auto& [name, tensor] : a.params) {
    EXPECT_TRUE(at::equal(tensor, b.params.at(name)));
    EXPECT_EQ(at::equal(tensor, c.params.at(name)), tensor.dim() == 1) << name;
  }
  EXPECT_FALSE(at::equal(a.params.at("model.layers.0.mlp.up_proj.weight"),
                         a.params.at("model.layers.1.mlp.up_proj.weight")));
  config.vocab_size = 4000;
  config.initializer_range = 0.5;
  const at::Tensor e = init_model(config, 5).params.at("model.embed_tokens.weight");
  EXPECT_NEAR(e.std().item<double>(), 0.5, 0.01);
  EXPECT_NEAR(e.mean().item<double>(), 0.0, 0.01);
  EXPECT_EQ(a.params.at("model.norm.weight").sum().item<float>(), 16.0F);
}

TEST(AllFinite, EveryFloatingDtype) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    at::Tensor t = at::zeros({100000}, at::TensorOptions().dtype(dtype));
    t[7] = dtype == at::kHalf ? 65504.0 : 3e38;
    EXPECT_TRUE(all_finite(t)) << dtype;
    t[99999] = -std::numeric_limits<double>::infinity();
    EXPECT_FALSE(all_finite(t)) << dtype;
    t[99999] = std::nan("");
    EXPECT_FALSE(all_finite(t)) << dtype;
  }
  EXPECT_TRUE(all_finite(at::zeros({3}, at::TensorOptions().dtype(at::kLong))));
}

TEST(Stories260K, LoadsAsItIs) {
  GM_REQUIRE_SHARED_DATA(data);
  const Model model = load_model(data / "models/stories260K", at::kFloat);
  EXPECT_EQ(model.params.num_elements(), num_parameters(model.config));
}

}  // namespace
}  // namespace growmerge
