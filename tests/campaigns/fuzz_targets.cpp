#include "tests/campaigns/fuzz_targets.h"

#include <ATen/ops/ones.h>

#include <array>
#include <filesystem>
#include <vector>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/yaml.h"
#include "core/model/checkpoint.h"
#include "core/model/model_config.h"
#include "core/store/manifest.h"
#include "core/store/safetensors.h"
#include "core/tokenizer/tokenizer.h"
#include "data/document_reader.h"
#include "data/token_shard.h"
#include "distributed/training_checkpoint.h"
#include "eval/items.h"
#include "eval/results.h"
#include "eval/table_reader.h"
#include "launch/experiment/experiment.h"
#include "merging/adapter/adapter.h"
#include "merging/recipe.h"
#include "merging/vocabulary/output_tokenizer.h"

namespace growmerge::campaigns {
namespace {

std::string directory_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

void read_yaml(const std::string& path) { (void)parse_yaml_file(path); }

void read_recipe(const std::string& path) { (void)merging::load_recipe(path, {}); }

void read_experiment(const std::string& path) { (void)launch::load_experiment(path, {}, "out"); }

void read_model_config(const std::string& path) {
  (void)num_parameters(parse_model_config(read_file(path), path));
}

void read_tokenizer(const std::string& path) {
  const Tokenizer tokenizer = Tokenizer::parse(read_file(path), path);
  const std::vector<std::int32_t> ids = tokenizer.encode(
      "Two words, 3 digits: 1234.\n\tNaïve café — 東京 \xF0\x9F\x99\x82 <s></s>", true);
  (void)tokenizer.decode(ids, false);
}

void read_union(const std::string& path) {
  const std::string text = read_json_text(path);
  const merging::TokenizerText changed = {.json = text, .name = path, .rows = 100};
  const merging::TokenizerText other = {
      .json = R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
                  "added_tokens": [{"id": 3, "content": "<s>"}]})",
      .name = "other",
      .rows = 4};
  (void)merging::with_tokens(text, {"<new>"}, path);
  (void)merging::union_tokenizer({other, changed});
  (void)merging::union_tokenizer({changed, other});
}

/// An adapter of a model of one layer; both are made beside the file at the first call.
void read_adapter(const std::string& path) {
  const std::filesystem::path dir = directory_of(path);
  const std::filesystem::path model = dir / "model";
  if (!std::filesystem::exists(model)) {
    ModelConfig config;
    config.vocab_size = config.hidden_size = config.intermediate_size = 8;
    config.num_layers = config.num_heads = config.num_kv_heads = 1;
    config.head_dim = 8;
    std::filesystem::create_directories(model);
    save_model(model, init_model(config, 1), {});
    ParamMap factors;
    factors.set("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", at::ones({2, 8}));
    factors.set("base_model.model.model.layers.0.mlp.up_proj.lora_B.weight", at::ones({8, 2}));
    save_safetensors(dir / "adapter_model.safetensors", factors, {});
  }
  (void)merging::Adapter::open(dir, CheckpointReader::open(model));
}

void read_safetensors(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const TensorInfo& info : file.tensors()) {
    (void)file.load(info.name);
  }
}

void read_documents(const std::string& path) {
  const data::TextInput input{.path = path, .language = "en"};
  constexpr std::size_t kLongest = std::size_t{1} << 24;
  data::RawReader reader(input, kLongest);
  for (data::RawDocument raw; reader.next(raw);) {
    (void)data::parse_document(raw, input, path);
  }
}

void read_rows(const std::string& path) {
  const std::array<eval::WantedColumn, 2> columns = {
      eval::WantedColumn{.name = "sentence_good", .required = true}, {.name = "id"}};
  (void)eval::read_table(path, columns, [](const eval::TableRow&) {});
}

void read_shard(const std::string& path) { data::TokenShard::open(path).verify(); }

void read_items(const std::string& path) { (void)eval::read_items(path); }

void read_results(const std::string& path) { (void)eval::read_results(directory_of(path)); }

void read_manifest_file(const std::string& path) { (void)believed_manifest(directory_of(path)); }

void read_state(const std::string& path) {
  (void)distributed::read_training_state(directory_of(directory_of(path)));
}

constexpr FuzzTarget kTargets[] = {
    {"yaml", "x.yaml", read_yaml},
    {"recipe", "recipe.yaml", read_recipe},
    {"experiment", "experiment.yaml", read_experiment},
    {"model_config", "config.json", read_model_config},
    {"tokenizer", "tokenizer.json", read_tokenizer},
    {"union", "tokenizer.json", read_union},
    {"adapter", "adapter_config.json", read_adapter},
    {"safetensors", "model.safetensors", read_safetensors},
    {"jsonl", "x.jsonl", read_documents},
    {"gzip", "x.jsonl.gz", read_documents},
    {"bzip2", "x.jsonl.bz2", read_documents},
    {"xz", "x.jsonl.xz", read_documents},
    {"zstd", "x.jsonl.zst", read_documents},
    {"rows_jsonl", "pairs.jsonl", read_rows},
    {"rows_tsv", "pairs.tsv", read_rows},
    {"shard", "x.h5", read_shard},
    {"items", "items.jsonl", read_items},
    {"results", "results.json", read_results},
    {"manifest", "manifest.json", read_manifest_file},
    {"state", "trainer/state.json", read_state},
};

}  // namespace

std::span<const FuzzTarget> fuzz_targets() { return kTargets; }

}  // namespace growmerge::campaigns
