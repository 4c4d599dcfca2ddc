// Whole merges of inputs that do not match by themselves, and merges that were killed.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/base/files.h"
#include "core/base/random.h"
#include "core/store/stage_output.h"
#include "merging/journal.h"
#include "merging/merge.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

ModelConfig small_config(std::int64_t layers = 3) {
  ModelConfig c;
  c.vocab_size = 40;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_layers = layers;
  c.num_heads = 4;
  c.num_kv_heads = 2;
  c.head_dim = 4;
  return c;
}

class MergeInputs : public ::testing::Test {
 protected:
  void save(const std::string& name, const ModelConfig& config, at::ScalarType dtype = at::kFloat) {
    fs::create_directories(path(name));
    save_model(path(name), init_model(config, stream_id(name)), {.dtype = dtype});
  }
  [[nodiscard]] fs::path path(const std::string& name) const { return dir_.path() / name; }
  MergePlan plan(const std::string& text) {
    std::ofstream(path("r.yaml")) << text;
    return plan_merge(path("r.yaml"), {});
  }
  std::vector<FileRecord> run(const MergePlan& plan, const std::string& name) {
    fs::create_directories(path(name));
    Progress progress("merge", 1, "bytes", false);
    return run_merge(plan, path(name), progress);
  }
  testing::TemporaryDirectory dir_;
};

const char* const kBoth =
    "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n";

TEST_F(MergeInputs, EachTensorKeepsItsDtypeWhereNoneIsGiven) {
  save("a", small_config(), at::kBFloat16);
  save("b", small_config(), at::kBFloat16);
  ParamMap tensors = load_safetensors(path("a") / "model.safetensors");
  tensors.set("model.norm.weight", tensors.at("model.norm.weight").to(at::kFloat));
  save_safetensors(path("a") / "model.safetensors", tensors, {{"format", "pt"}});
  run(plan(kBoth), "out");
  const CheckpointReader out = CheckpointReader::open(path("out"));
  EXPECT_EQ(out.info("model.norm.weight").dtype, at::kFloat);
  EXPECT_EQ(out.info("model.embed_tokens.weight").dtype, at::kBFloat16);
  run(plan(std::string(kBoth) + "dtype: float16\n"), "half");
  EXPECT_EQ(CheckpointReader::open(path("half")).info("model.norm.weight").dtype, at::kHalf);
  // base_model gives the dtypes, whatever the method does with it.
  run(plan(std::string(kBoth) + "base_model: b\n"), "of-b");
  EXPECT_EQ(CheckpointReader::open(path("of-b")).info("model.norm.weight").dtype, at::kBFloat16);
}

TEST_F(MergeInputs, ConfigsMayDifferWhereTheRecipeAllowsIt) {
  save("a", small_config());
  ModelConfig other = small_config();
  other.rope.theta = 5e5;
  other.rms_norm_eps = 1e-6;
  save("b", other);
  EXPECT_ERROR(plan(kBoth), kMismatch, "allow_config_differences");
  EXPECT_ERROR(plan(std::string(kBoth) + "allow_config_differences: [rope_theta]\n"), kMismatch,
               "rms_norm_eps");
  const MergePlan allowed =
      plan(std::string(kBoth) + "allow_config_differences: [rope_theta, rms_norm_eps]\n");
  EXPECT_EQ(allowed.config.rope.theta, small_config().rope.theta) << "the first model's";
}

TEST_F(MergeInputs, AWrongBaseIsRefusedUnderStrict) {
  for (const auto& [name, from] : {std::pair("base", ""), {"other", ""}, {"sv", "base"}}) {
    StageOutput output(path(name));
    save_model(output.dir(), init_model(small_config(), stream_id(name)), {});
    Manifest m;
    m.stage = "train";
    m.config = name;
    if (*from != '\0') {
      m.notes["continued_from"] = path_identity(path(from));
    }
    output.finish(m);
  }
  const std::string text =
      "merge_method: ties\nmodels: [{model: sv}]\nparameters: {weight: 1}\nstrict: true\n";
  EXPECT_TRUE(plan(text + "base_model: base\n").warnings.empty());
  EXPECT_ERROR(plan(text + "base_model: other\n"), kMismatch, "IS NOT the checkpoint", "strict");
  const std::string slices =
      "merge_method: task_arithmetic\nparameters: {weight: 1}\nstrict: true\nslices:\n"
      "- {base_model: base, sources: [{model: base, layer_range: [0, 1]}, {model: sv, "
      "layer_range: [0, 1]}]}\n- {base_model: ";
  const std::string second = ", sources: [{model: sv, layer_range: [1, 3]}, {model: ";
  EXPECT_TRUE(plan(slices + "base" + second + "base, layer_range: [1, 3]}]}\n").warnings.empty());
  EXPECT_ERROR(plan(slices + "other" + second + "other, layer_range: [1, 3]}]}\n"), kMismatch,
               "/other'", "IS NOT the checkpoint");
}

TEST_F(MergeInputs, PermutedVocabulariesAreNotMergedByNumber) {
  save("a", small_config());
  save("b", small_config());
  const auto tokenizer = [this](const std::string& model, const std::string& vocab) {
    std::ofstream(path(model) / "tokenizer.json") << R"({"model": {"vocab": )" << vocab << "}}";
  };
  tokenizer("a", R"({"x": 0, "y": 1})");
  tokenizer("b", R"({"y": 0, "x": 1})");
  EXPECT_ERROR(plan(kBoth), kMismatch, "tokenizer_source", "id 0 is 'x'");
  tokenizer("b", R"({"x": 0, "y": 1, "z": 2})");
  EXPECT_EQ(plan(kBoth).warnings.size(), 1U) << "more tokens: said, not refused";
  ModelConfig larger = small_config();
  larger.vocab_size = 48;
  save("b", larger);
  EXPECT_ERROR(plan(kBoth), kMismatch, "vocab_size", "40", "48", "give tokenizer_source");
}

TEST_F(MergeInputs, LayersOfSlicesGoWhereTheyBelong) {
  save("a", small_config(3));
  save("b", small_config(5));
  const MergePlan stacked = plan(
      "merge_method: linear\nparameters: {weight: 1}\nslices:\n"
      "- sources: [{model: a, layer_range: [1, 3]}]\n- sources: [{model: b, layer_range: [4, "
      "5]}]\n");
  EXPECT_EQ(stacked.config.num_layers, 3);
  run(stacked, "out");
  const Model out = load_model(path("out"), at::kFloat);
  const Model a = load_model(path("a"), at::kFloat);
  const Model b = load_model(path("b"), at::kFloat);
  const auto layer = [](int i) { return concat("model.layers.", i, ".mlp.up_proj.weight"); };
  EXPECT_TRUE(at::equal(out.params.at(layer(0)), a.params.at(layer(1))));
  EXPECT_TRUE(at::equal(out.params.at(layer(1)), a.params.at(layer(2))));
  EXPECT_TRUE(at::equal(out.params.at(layer(2)), b.params.at(layer(4))));
  const char* const embedding = "model.embed_tokens.weight";
  EXPECT_TRUE(at::equal(out.params.at(embedding), a.params.at(embedding)));
  EXPECT_TRUE(at::equal(out.params.at("model.norm.weight"), b.params.at("model.norm.weight")));
  EXPECT_ERROR(plan("merge_method: linear\nparameters: {weight: 1}\nslices:\n"
                    "- sources: [{model: a, layer_range: [1, 4]}]\n"),
               kInvalidArgument, "r.yaml:4", "goes beyond", "3 layers");
}

TEST_F(MergeInputs, ListsByLayerFollowTheLayers) {
  ModelConfig config = small_config(4);
  config.architecture = "Qwen3ForCausalLM";
  config.sliding_window = 8;
  config.use_sliding_window = true;
  const std::string full = "full_attention";
  const std::string sliding = "sliding_attention";
  config.layer_types = {full, sliding, full, sliding};
  save("a", config);
  const auto slices = [this](const std::string& list) {
    return plan("merge_method: linear\nparameters: {weight: 1}\nslices:\n" + list);
  };
  const MergePlan stacked = slices(
      "- sources: [{model: a, layer_range: [1, 3]}]\n- sources: [{model: a, layer_range: "
      "[3, 4]}]\n");
  run(stacked, "out");
  EXPECT_EQ(CheckpointReader::open(path("out")).config().layer_types,
            (std::vector<std::string>{sliding, full, sliding}));
  EXPECT_ERROR(slices("- sources: [{model: a, layer_range: [0, 2]}, {model: a, layer_range: [1, "
                      "3]}]\n"),
               kUnsupported, "r.yaml:4", "different kinds");
}

TEST_F(MergeInputs, AKilledMergeGoesOn) {
  save("a", small_config());
  save("b", small_config());
  const std::string text = std::string(kBoth) + "out_shard_size: 8k\n";
  const MergePlan whole = plan(text);
  const std::vector<FileRecord> expected = run(whole, "whole");
  ASSERT_GT(expected.size(), 2U);
  // What a kill in the second file leaves: the first, a part of the second, and the journal.
  fs::create_directories(path("killed"));
  const fs::path first = expected[0].path;
  const fs::path second = expected[1].path;
  fs::copy_file(path("whole") / first, path("killed") / first);
  const SafetensorsFile made = SafetensorsFile::open(path("whole") / second);
  const TensorInfo& done = made.tensors().front();
  std::string bytes = read_file(path("whole") / second);
  for (const TensorInfo& info : made.tensors()) {
    if (info.name != done.name) {
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(info.begin), info.num_bytes(), 'x');
    }
  }
  std::ofstream(path("killed") / (second.string() + ".partial")) << bytes;
  const auto write_journal = [&](const std::string& identity) {
    std::ofstream(path("killed") / kJournalName)
        << identity << "\nfile " << first.string() << " " << expected[0].bytes << " "
        << expected[0].hash << "\ntensor " << done.name << "\ntensor cut-o";
  };
  write_journal("of another recipe");
  EXPECT_FALSE(can_go_on(whole, path("killed")));
  write_journal(journal_identity(whole));
  EXPECT_TRUE(can_go_on(whole, path("killed")));
  const std::vector<FileRecord> again = run(whole, "killed");
  ASSERT_EQ(again.size(), expected.size());
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].hash, expected[i].hash) << again[i].path;
    EXPECT_EQ(read_file(path("killed") / again[i].path), read_file(path("whole") / again[i].path));
  }
  EXPECT_FALSE(fs::exists(path("killed") / kJournalName));
  // An input that has changed since makes the journal worthless.
  write_journal(journal_identity(whole));
  save("b", small_config(), at::kBFloat16);
  EXPECT_FALSE(can_go_on(plan(text), path("killed")));
  // Neither the size nor the time of modification says that it has.
  const fs::path weights = path("b") / "model.safetensors";
  const MergePlan before = plan(text);
  write_journal(journal_identity(before));
  EXPECT_TRUE(can_go_on(before, path("killed")));
  const auto modified = fs::last_write_time(weights);
  bytes = read_file(weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(weights, std::ios::binary) << bytes;
  fs::last_write_time(weights, modified);
  EXPECT_FALSE(can_go_on(plan(text), path("killed")));
}

TEST_F(MergeInputs, TheModelCardHasTheRecipe) {
  save("a", small_config());
  save("b", small_config());
  const MergePlan whole = plan(std::string(kBoth) + "chat_template: '{{ messages }}'\n");
  run(whole, "out");
  const std::string card = read_file(path("out") / "README.md");
  EXPECT_NE(card.find("base_model:\n- a\n- b\n"), std::string::npos) << card;
  EXPECT_NE(card.find("merge_method: linear\n"), std::string::npos) << card;
  EXPECT_EQ(read_file(path("out") / "chat_template.jinja"), "{{ messages }}");
  fs::copy_file(path("out") / "mergekit_config.yml", path("again.yml"));
  const MergePlan again = plan_merge(path("again.yml"), {});
  EXPECT_EQ(again.recipe.text, whole.recipe.text);
}

}  // namespace
}  // namespace growmerge::merging
