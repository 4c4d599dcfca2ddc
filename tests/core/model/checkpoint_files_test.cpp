// The files of a model directory: which are taken, refused and carried along.
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "core/base/files.h"
#include "core/model/checkpoint.h"
#include "tests/core/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

Model small_model() { return init_model(testing::tiny_config(2, true, Activation::kSilu), 1); }

void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

TEST(CheckpointFiles, OneFileIsTakenBeforeAnIndex) {
  const TemporaryDirectory dir;
  const Model model = small_model();
  save_model(dir.path(), model, {});
  // Of another save, as `save_pretrained` over an older one leaves it; not even its shards are
  // there.
  write_text(dir.path() / "model.safetensors.index.json",
             R"({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}})");
  ::testing::internal::CaptureStderr();
  const Model loaded = load_model(dir.path(), at::kFloat);
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("model.safetensors is read, and not the shards of "
                     "model.safetensors.index.json"),
            std::string::npos)
      << log;
  EXPECT_TRUE(
      at::equal(loaded.params.at("model.norm.weight"), model.params.at("model.norm.weight")));
}

TEST(CheckpointFiles, StoredRotaryBuffersAreReadPastAndNotWritten) {
  const TemporaryDirectory dir;
  const Model model = small_model();
  ParamMap tensors = model.params.clone();
  for (const char* name :
       {"model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.1.self_attn.rotary_emb.cos_cached",
        "model.layers.1.self_attn.rotary_emb.sin_cached", "model.rotary_emb.inv_freq",
        "model.rotary_emb.original_inv_freq", "model.rotary_emb_local.inv_freq"}) {
    tensors.set(name, at::zeros({2}));
  }
  save_safetensors(dir.path() / "model.safetensors", tensors, {{"format", "pt"}});
  write_text(dir.path() / "config.json", model_config_json(model.config, "float32"));
  const Model loaded = load_model(dir.path(), at::kFloat);
  EXPECT_EQ(loaded.params.names(), model.params.names());
  const fs::path out = dir.path() / "out";
  fs::create_directories(out);
  save_model(out, loaded, {.companions_from = dir.path()});
  EXPECT_EQ(SafetensorsFile::open(out / "model.safetensors").tensors().size(), model.params.size());
}

TEST(CheckpointFiles, PicklesAndSentencePieceAreRefusedWithTheCommandThatConvertsThem) {
  const TemporaryDirectory dir;
  const Model model = small_model();
  write_text(dir.path() / "config.json", model_config_json(model.config, "float32"));
  for (const char* name :
       {"pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.pt"}) {
    write_text(dir.path() / name, "x");
    EXPECT_ERROR(CheckpointReader::open(dir.path()), kUnsupported, name,
                 "python3 -c \"from transformers import AutoModelForCausalLM; ",
                 ".from_pretrained('" + dir.path().string() + "').save_pretrained('");
    fs::remove(dir.path() / name);
  }
  write_text(dir.path() / "model.gguf", "x");
  EXPECT_ERROR(CheckpointReader::open(dir.path()), kUnsupported, "model.gguf",
               "gguf_file='model.gguf'");
  save_model(dir.path(), model, {});
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
    write_text(dir.path() / name, "x");
    EXPECT_ERROR(CheckpointReader::open(dir.path()), kUnsupported, name,
                 "python3 -c \"from transformers import AutoTokenizer; ");
    fs::remove(dir.path() / name);
  }
}

TEST(CheckpointFiles, WhatOthersLookForIsCarriedAlong) {
  const TemporaryDirectory source;
  const std::vector<std::string> carried = {"LICENSE",
                                            "NOTICE.txt",
                                            "USE_POLICY.md",
                                            "added_tokens.json",
                                            "additional_chat_templates/rag.jinja",
                                            "additional_chat_templates/tool_use.jinja",
                                            "chat_template.jinja",
                                            "chat_template.json",
                                            "configuration_x.py",
                                            "generation_config.json",
                                            "merges.txt",
                                            "modeling_x.py",
                                            "sentencepiece.bpe.model",
                                            "special_tokens_map.json",
                                            "spiece.model",
                                            "tekken.json",
                                            "tokenization_x.py",
                                            "tokenizer.json",
                                            "tokenizer.model",
                                            "tokenizer_config.json",
                                            "vocab.json",
                                            "vocab.txt"};
  for (const std::string& name : carried) {
    write_text(source.path() / name, "of " + name);
  }
  for (const char* name :
       {"README.md", "config.json", "pytorch_model.bin", "train.py", "manifest.json",
        "additional_chat_templates/notes.txt", "original/params.json"}) {
    write_text(source.path() / name, "left");
  }
  const TemporaryDirectory out;
  EXPECT_EQ(copy_companions(source.path(), out.path()), carried);
  for (const std::string& name : carried) {
    EXPECT_EQ(read_file(out.path() / name), "of " + name);
  }
  EXPECT_EQ(visible_files(out.path()).size(), carried.size());
  EXPECT_TRUE(copy_companions(out.path() / "nowhere", out.path()).empty());
}

TEST(CheckpointFiles, PadTokenAndUnknownKeysOfTheConfigGoOn) {
  const TemporaryDirectory dir;
  Model model = small_model();
  save_model(dir.path(), model, {});
  std::string config = read_file(dir.path() / "config.json");
  config.insert(config.find('{') + 1, "\"pad_token_id\": 7,");
  write_text(dir.path() / "config.json", config);
  const fs::path out = dir.path() / "out";
  fs::create_directories(out);
  save_model(out, load_model(dir.path(), at::kFloat), {});
  EXPECT_NE(read_file(out / "config.json").find("\"pad_token_id\": 7"), std::string::npos);
}

TEST(CheckpointFiles, AMissingModelOfTheHubComesWithItsCommand) {
  EXPECT_ERROR(CheckpointReader::open("some-org/some-model"), kNotFound, "no model directory",
               "`hf download some-org/some-model`");
}

}  // namespace
}  // namespace growmerge
