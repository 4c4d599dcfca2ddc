// Whole merges, directory to directory.
#include "merging/merge.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/max.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <thread>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/store/hashes.h"
#include "core/store/stage_output.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

ModelConfig small_config(bool tied) {
  ModelConfig c;
  c.vocab_size = 3000;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_layers = 3;
  c.num_heads = 4;
  c.num_kv_heads = 2;
  c.head_dim = 4;
  c.tie_word_embeddings = tied;
  return c;
}

class MergeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      save(names_[seed], init_model(small_config(true), seed));
    }
  }
  void save(const std::string& name, const Model& model, at::ScalarType dtype = at::kFloat) {
    fs::create_directories(path(name));
    save_model(path(name), model, {.dtype = dtype});
  }
  [[nodiscard]] fs::path path(const std::string& name) const { return dir_.path() / name; }
  fs::path recipe(const std::string& text) {
    std::ofstream(path("r.yaml")) << text;
    return path("r.yaml");
  }
  Model merged(const MergePlan& plan, const std::string& name = "out") {
    fs::create_directories(path(name));
    Progress progress("merge", 1, "parameters", false);
    run_merge(plan, path(name), progress);
    return load_model(path(name), at::kFloat);
  }
  testing::TemporaryDirectory dir_;
  const std::vector<std::string> names_ = {"a", "b", "c"};
};

// Model paths beside the recipe are found.
const char* const kLinear =
    "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n"
    "- {model: b, parameters: {weight: 3}}\n";

TEST_F(MergeTest, LinearWritesAWholeModelDirectory) {
  std::ofstream(path("a") / "tokenizer.json") << "{}";
  const MergePlan plan = plan_merge(recipe(kLinear), {});
  EXPECT_EQ(plan.out_dtype, at::kFloat);
  EXPECT_NE(plan.describe().find("linear"), std::string::npos);
  const Model out = merged(plan);
  const Model a = load_model(path("a"), at::kFloat);
  const Model b = load_model(path("b"), at::kFloat);
  for (const auto& [name, tensor] : out.params) {
    const at::Tensor expected = (a.params.at(name) + 3 * b.params.at(name)) / 4;
    EXPECT_LE((tensor - expected).abs().max().item<double>(), 1e-8) << name;
  }
  EXPECT_TRUE(fs::exists(path("out") / "tokenizer.json"));
  EXPECT_EQ(plan.bytes_written, static_cast<std::uint64_t>(out.params.num_elements()) * 4);
}

// Tensors of several windows, files in an order that is not the order of work, and one that holds
// the same tensors in another order.
TEST_F(MergeTest, HashesOfInputsAndOutputAreThoseOfTheFiles) {
  ModelConfig config = small_config(true);
  config.vocab_size = 90000;
  config.num_layers = 12;
  for (const std::uint64_t seed : {0, 1, 2}) {
    save(names_[seed], init_model(config, seed), at::kBFloat16);
  }
  const ParamMap tensors = load_safetensors(path("c") / "model.safetensors");
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    names.push_back(name);
  }
  std::sort(names.rbegin(), names.rend());
  ParamMap reversed;
  for (const std::string& name : names) {
    reversed.set(name, tensors.at(name));
  }
  save_safetensors(path("c") / "model.safetensors", reversed, {{"format", "pt"}});
  // Only the hash of a file that nobody is writing to is remembered.
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  for (const char* method : {"linear", "ties"}) {
    SCOPED_TRACE(method);
    set_hash_cache({});  // forgets
    const std::string base = std::string(method) == "ties" ? "base_model: b\n" : "";
    MergePlan plan = plan_merge(recipe(concat("merge_method: ", method, "\n", base,
                                              "models:\n- model: a\n- model: b\n- model: c\n"
                                              "parameters: {weight: 1}\n")),
                                {});
    plan.shard_bytes = 1'000'000;
    fs::create_directories(path(method));
    Progress progress("merge", 1, "bytes", false);
    const std::vector<FileRecord> written = run_merge(plan, path(method), progress);
    EXPECT_GT(written.size(), 1U);
    for (const FileRecord& record : written) {
      EXPECT_EQ(record.hash, hash_file(path(method) / record.path)) << record.path;
      EXPECT_EQ(record.bytes, fs::file_size(path(method) / record.path)) << record.path;
    }
    for (const std::string& name : names_) {
      const fs::path weights = path(name) / "model.safetensors";
      EXPECT_FALSE(FileHasher(weights).is_wanted()) << name << " is not read again";
      EXPECT_EQ(path_identity(weights), hash_file(weights)) << name;
    }
  }
  set_hash_cache({});
}

TEST_F(MergeTest, OutputDtypeAndShards) {
  const std::string overrides[] = {"dtype=bfloat16"};
  MergePlan plan = plan_merge(recipe(kLinear), overrides);
  EXPECT_EQ(plan.out_dtype, at::kBFloat16);
  plan.shard_bytes = 20000;
  const Model out = merged(plan);
  EXPECT_TRUE(fs::exists(path("out") / "model.safetensors.index.json"));
  EXPECT_EQ(CheckpointReader::open(path("out")).dtype(), at::kBFloat16);
  const Model whole = merged(plan_merge(recipe(kLinear), {}), "out32");
  for (const auto& [name, tensor] : out.params) {
    EXPECT_TRUE(at::equal(tensor, whole.params.at(name).to(at::kBFloat16).to(at::kFloat))) << name;
  }
  const std::string both[] = {"dtype=bfloat16", "out_dtype=float16"};
  EXPECT_EQ(plan_merge(recipe(kLinear), both).out_dtype, at::kHalf);
}

TEST_F(MergeTest, DtypeOfBaseWhereNoneIsGiven) {
  save("base", init_model(small_config(true), 9), at::kBFloat16);
  const MergePlan plan =
      plan_merge(recipe("merge_method: task_arithmetic\nbase_model: base\nmodels:\n- model: a\n"
                        "parameters: {weight: 1}\n"),
                 {});
  EXPECT_EQ(plan.out_dtype, at::kBFloat16);
}

TEST_F(MergeTest, ModelsThatDoNotFitAreRefused) {
  ModelConfig other = small_config(true);
  other.intermediate_size = 32;
  save("b", init_model(other, 1));
  EXPECT_ERROR(plan_merge(recipe(kLinear), {}), kMismatch, "intermediate_size", "24", "32",
               path("b").string());
  save("b", init_model(small_config(false), 1));
  EXPECT_ERROR(plan_merge(recipe(kLinear), {}), kMismatch, "tie_word_embeddings");
  other = small_config(true);
  other.rope.theta = 5e5;
  save("b", init_model(other, 1));
  EXPECT_ERROR(plan_merge(recipe(kLinear), {}), kMismatch, "rope_theta");
  EXPECT_ERROR(plan_merge(recipe("merge_method: linear\nmodels: [{model: a}]\n"), {}),
               kInvalidArgument, "'weight'");
}

TEST_F(MergeTest, ANanNamesTensorAndModelAndLeavesNoWeights) {
  ParamMap tensors = load_safetensors(path("b") / "model.safetensors");
  tensors.at("model.layers.1.mlp.up_proj.weight")[2][3] = std::nanf("");
  save_safetensors(path("b") / "model.safetensors", tensors, {});
  const MergePlan plan = plan_merge(recipe(kLinear), {});
  EXPECT_ERROR(merged(plan), kCorrupt, "model.layers.1.mlp.up_proj.weight", path("b").string());
  EXPECT_TRUE(fs::is_empty(path("out")));
}

const char* const kTies =
    "merge_method: ties\nbase_model: base\nmodels: [{model: sv}, {model: de}]\n"
    "parameters: {weight: 1, density: 0.5}\n";

TEST_F(MergeTest, AWrongBaseIsALoudWarning) {
  const auto finish = [this](const std::string& name, const std::string& from, double flops) {
    StageOutput output(path(name));
    save_model(output.dir(), init_model(small_config(true), stream_id(name)), {});
    Manifest m;
    m.stage = "train";
    m.config = name;
    m.flops = flops;
    m.flops_total = flops + 100;
    m.tokens = 7;
    m.tokens_total = 17;
    if (!from.empty()) {
      m.notes["continued_from"] = path_identity(path(from));
    }
    output.finish(m);
  };
  finish("base", "", 100);
  finish("other", "", 100);
  finish("sv", "base", 10);
  finish("de", "base", 20);
  const MergePlan good = plan_merge(recipe(kTies), {});
  EXPECT_TRUE(good.warnings.empty());
  const Manifest manifest = merge_manifest(good);
  EXPECT_EQ(manifest.inputs.size(), 3U);
  EXPECT_DOUBLE_EQ(manifest.flops_total, 130.0) << "what came before counts once";
  EXPECT_EQ(manifest.tokens_total, 24);
  const std::string overrides[] = {"base_model=" + path("other").string()};
  const MergePlan bad = plan_merge(recipe(kTies), overrides);
  ASSERT_EQ(bad.warnings.size(), 2U);
  EXPECT_NE(bad.warnings[0].find("IS NOT the checkpoint"), std::string::npos);
  EXPECT_NE(bad.warnings[0].find(path("sv").string()), std::string::npos);
  EXPECT_NE(bad.describe().find("WARNING"), std::string::npos);
  EXPECT_NE(stage_identity(merge_manifest(bad)), stage_identity(manifest));
}

TEST_F(MergeTest, FisherTakesStatisticsOfTheRightModel) {
  const auto statistics = [this](const std::string& model, float value) {
    fs::create_directories(path(model + "-stats"));
    ParamMap f;
    for (const auto& [name, tensor] : load_model(path(model), at::kFloat).params) {
      f.set(name, at::full_like(tensor, value));
    }
    f.at("model.norm.weight")[3] = 1000 * value;
    save_safetensors(path(model + "-stats") / "fisher.safetensors", f,
                     {{"model_identity", path_identity(path(model))}, {"num_sequences", "4"}});
  };
  statistics("a", 1e-9F);
  statistics("b", 5.0F);
  const char* const text =
      "merge_method: fisher\nmodels:\n- {model: a, statistics: a-stats}\n"
      "- {model: b, statistics: b-stats/fisher.safetensors, parameters: {weight: 3}}\n";
  const Model out = merged(plan_merge(recipe(text), {}));
  const Model a = load_model(path("a"), at::kFloat);
  const Model b = load_model(path("b"), at::kFloat);
  for (const auto& [name, tensor] : out.params) {
    // F is the same in both models up to scale, and its norm takes the scale away.
    const at::Tensor expected = (a.params.at(name) + 3 * b.params.at(name)) / 4;
    EXPECT_LE((tensor - expected).abs().max().item<double>(), 1e-6) << name;
  }
  EXPECT_ERROR(
      plan_merge(recipe("merge_method: fisher\nslices:\n"
                        "- sources: [{model: a, layer_range: [0, 1], statistics: a-stats}]\n"
                        "- sources: [{model: a, layer_range: [1, 2], statistics: a-stats}]\n"),
                 {}),
      kUnsupported, "2 slices");
  fs::rename(path("a-stats"), path("x"));
  EXPECT_ERROR(plan_merge(recipe(text), {}), kNotFound, "a-stats");
  fs::rename(path("b-stats"), path("a-stats"));
  fs::rename(path("x"), path("b-stats"));
  EXPECT_ERROR(plan_merge(recipe(text), {}), kMismatch, "run `growmerge stats` on this model");
}

TEST_F(MergeTest, GradientsAndFiltersReachTheirTensors) {
  const Model out = merged(
      plan_merge(recipe("merge_method: linear\nmodels:\n"
                        "- {model: a, parameters: {weight: [{filter: self_attn, value: [1, 0]}, "
                        "{value: 0}]}}\n"
                        "- {model: b, parameters: {weight: [{filter: self_attn, value: [0, 1]}, "
                        "{value: 1}]}}\n"),
                 {}));
  const Model a = load_model(path("a"), at::kFloat);
  const Model b = load_model(path("b"), at::kFloat);
  const auto is = [&out](const std::string& name, const Model& model) {
    return at::equal(out.params.at(name), model.params.at(name));
  };
  EXPECT_TRUE(is("model.layers.0.self_attn.q_proj.weight", a));
  EXPECT_TRUE(is("model.layers.2.self_attn.q_proj.weight", b));
  EXPECT_TRUE(is("model.layers.0.mlp.up_proj.weight", b));
  const at::Tensor middle = (a.params.at("model.layers.1.self_attn.q_proj.weight") +
                             b.params.at("model.layers.1.self_attn.q_proj.weight")) /
                            2;
  EXPECT_LE(
      (out.params.at("model.layers.1.self_attn.q_proj.weight") - middle).abs().max().item<double>(),
      1e-8);
}

}  // namespace
}  // namespace growmerge::merging
