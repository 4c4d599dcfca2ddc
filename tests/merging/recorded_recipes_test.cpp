// Recipes as people wrote them, planned on tiny models: the 390 of the authors of arXiv 2512.10772
// (five methods, three setups, all subsets of five languages from pairs on), and those of
// mergekit's examples and documentation. Methods that are not there are left out by name.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "core/base/error.h"
#include "merging/merge.h"
#include "merging/methods/methods.h"
#include "merging/recipe_documents.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

bool is_there(const std::string& method) {
  const auto all = methods();
  return std::any_of(all.begin(), all.end(), [&](const Method& m) { return method == m.name; });
}

ModelConfig config_of(std::int64_t layers) {
  ModelConfig c;
  c.vocab_size = 16;
  c.hidden_size = 8;
  c.intermediate_size = 8;
  c.num_layers = layers;
  c.num_heads = 2;
  c.num_kv_heads = 1;
  c.head_dim = 4;
  return c;
}

class RecordedRecipes : public ::testing::Test {
 protected:
  void make_model(const std::string& name, std::int64_t layers) {
    fs::create_directories(dir_.path() / name);
    save_model(dir_.path() / name, init_model(config_of(layers), 1), {});
  }
  fs::path write(const std::string& text) {
    std::ofstream(dir_.path() / "r.yaml") << text;
    return dir_.path() / "r.yaml";
  }
  testing::TemporaryDirectory dir_;
};

/// The languages of a subset, by the bits of `subset`.
std::vector<std::string> languages_of(unsigned subset) {
  const char* const all[] = {"estonian", "faroese", "icelandic", "finnish", "norwegian"};
  std::vector<std::string> out;
  for (unsigned i = 0; i < 5; ++i) {
    if ((subset >> i & 1U) != 0) {
      out.emplace_back(all[i]);
    }
  }
  return out;
}

struct ModelSet {
  const char* front;  // of a model's name
  const char* back;
  const char* base;
};
constexpr ModelSet kModelSets[] = {
    {"liu-nlp/HyperLlama-180M-", "-1x", "liu-nlp/HyperLlama-180M-english-1x"},
    {"liu-nlp/HyperLlama-572M-", "-1x-cloned", "liu-nlp/HyperLlama-572M-english-1x-cloned"},
    {"liu-nlp/HyperLlama-572M-", "-2x", "liu-nlp/HyperLlama-572M-english-1x-cloned"}};

std::string paper_recipe(const std::string& method, const ModelSet& setup, unsigned subset) {
  const bool has_base = method != "linear" && method != "multislerp";
  std::string text = has_base ? std::string("base_model: ") + setup.base + "\n" : "";
  text += "dtype: float16\nmerge_method: " + method + "\nmodels:\n";
  for (const std::string& language : languages_of(subset)) {
    text += std::string("- model: ") + setup.front + language + setup.back + "\n  parameters:\n" +
            (has_base ? "    density: 0.5\n" : "") + "    weight: 1.0\n";
  }
  return text + "parameters:\n  int8_mask: true\n  normalize: true\n";
}

TEST_F(RecordedRecipes, ThePapersArePlanned) {
  for (const ModelSet& setup : kModelSets) {
    make_model(setup.base, 2);
    for (const std::string& language : languages_of(31)) {
      make_model(setup.front + language + setup.back, 2);
    }
  }
  int planned = 0;
  int left_out = 0;
  for (const char* method : {"linear", "task_arithmetic", "ties", "dare_ties", "multislerp"}) {
    for (const ModelSet& setup : kModelSets) {
      for (unsigned subset = 0; subset < 32; ++subset) {
        const std::size_t number = languages_of(subset).size();
        if (number < 2) {
          continue;
        }
        if (!is_there(method)) {
          ++left_out;
          continue;
        }
        SCOPED_TRACE(paper_recipe(method, setup, subset));
        const MergePlan plan = plan_merge(write(paper_recipe(method, setup, subset)), {});
        EXPECT_EQ(plan.models.size(), number);
        EXPECT_EQ(plan.out_dtype, at::kHalf);
        ++planned;
      }
    }
  }
  EXPECT_EQ(planned + left_out, 390);
  std::printf("planned %d of 390\n", planned);
}

struct Documented {
  const char* method;
  const char* text;
  std::int64_t num_layers;
};

constexpr Documented kDocumented[] = {
    {"linear",
     "models:\n  - model: psmathur/orca_mini_v3_13b\n    parameters:\n      weight: 1.0\n"
     "  - model: WizardLM/WizardLM-13B-V1.2\n    parameters:\n      weight: 0.3\n"
     "  - model: garage-bAInd/Platypus2-13B\n    parameters:\n      weight: 0.5\n"
     "merge_method: linear\ndtype: float16\n",
     40},
    {"slerp",
     "slices:\n  - sources:\n      - model: psmathur/orca_mini_v3_13b\n        layer_range: [0, "
     "40]\n"
     "      - model: garage-bAInd/Platypus2-13B\n        layer_range: [0, 40]\nmerge_method: "
     "slerp\n"
     "base_model: psmathur/orca_mini_v3_13b\nparameters:\n  t:\n    - filter: self_attn\n"
     "      value: [0, 0.5, 0.3, 0.7, 1]\n    - filter: mlp\n      value: [1, 0.5, 0.7, 0.3, 0]\n"
     "    - value: 0.5 # fallback for rest of tensors\ndtype: float16\n",
     40},
    {"passthrough",
     "slices:\n  - sources:\n    - model: psmathur/orca_mini_v3_13b\n      layer_range: [0, 24]\n"
     "  - sources:\n    - model: garage-bAInd/Platypus2-13B\n      layer_range: [20, 40]\n"
     "merge_method: passthrough\ndtype: float16\n",
     44},
    {"ties",
     "models:\n  - model: psmathur/orca_mini_v3_13b\n    parameters:\n"
     "      density: [1, 0.7, 0.1] # density gradient\n      weight: 1.0\n"
     "  - model: garage-bAInd/Platypus2-13B\n    parameters:\n      density: 0.5\n"
     "      weight: [0, 0.3, 0.7, 1] # weight gradient\n  - model: WizardLM/WizardMath-13B-V1.0\n"
     "    parameters:\n      density: 0.33\n      weight:\n        - filter: mlp\n          value: "
     "0.5\n"
     "        - value: 0\nmerge_method: ties\nbase_model: TheBloke/Llama-2-13B-fp16\nparameters:\n"
     "  normalize: true\n  int8_mask: true\ndtype: float16\n",
     40},
    {"dare_ties",
     "models:\n  - model: TheBloke/Llama-2-13B-fp16\n  - model: garage-bAInd/Platypus2-13B\n"
     "    parameters:\n      density: 0.53\n      weight: 0.4\n  - model: "
     "WizardLM/WizardLM-13B-V1.2\n"
     "    parameters:\n      density: 0.53\n      weight: 0.3\nmerge_method: dare_ties\n"
     "base_model: TheBloke/Llama-2-13B-fp16\nparameters:\n  int8_mask: true\ndtype: bfloat16\n",
     40},
    {"task_arithmetic",
     "models:\n  - model: garage-bAInd/Platypus2-13B\n    parameters: {weight: 0.6}\n"
     "  - model: WizardLM/WizardLM-13B-V1.2\n    parameters: {weight: 0.4}\n"
     "base_model: TheBloke/Llama-2-13B-fp16\nmerge_method: task_arithmetic\n"
     "parameters: {lambda: 1.0, normalize: false, int8_mask: false}\ndtype: bfloat16\n",
     40},
    {"model_stock",
     "merge_method: model_stock\nbase_model: TheBloke/Llama-2-13B-fp16\nmodels:\n"
     "  - model: garage-bAInd/Platypus2-13B\n  - model: WizardLM/WizardLM-13B-V1.2\n"
     "dtype: bfloat16\nparameters:\n  filter_wise: false\n",
     40},
    {"sce",
     "models:\n  - model: garage-bAInd/Platypus2-13B\n  - model: WizardLM/WizardLM-13B-V1.2\n"
     "merge_method: sce\nbase_model: TheBloke/Llama-2-13B-fp16\nparameters:\n  select_topk: 0.7\n"
     "  normalize: false\n  int8_mask: true\ndtype: bfloat16\n",
     40},
    {"della",
     "models:\n  - model: garage-bAInd/Platypus2-13B\n    parameters: {weight: 0.5, density: 0.7, "
     "epsilon: 0.1}\n  - model: WizardLM/WizardLM-13B-V1.2\n    parameters: {weight: 0.5, density: "
     "0.6, epsilon: 0.2}\nmerge_method: della\nbase_model: TheBloke/Llama-2-13B-fp16\n"
     "parameters: {lambda: 1.1, normalize: true}\ndtype: bfloat16\n",
     40},
    {"nuslerp",
     "models:\n  - model: garage-bAInd/Platypus2-13B\n    parameters: {weight: [1, 0.5]}\n"
     "  - model: WizardLM/WizardLM-13B-V1.2\n    parameters: {weight: 0.5}\nmerge_method: nuslerp\n"
     "parameters: {nuslerp_flatten: false}\ndtype: bfloat16\n",
     40},
    {"karcher",
     "models:\n  - model: garage-bAInd/Platypus2-13B\n  - model: WizardLM/WizardLM-13B-V1.2\n"
     "  - model: psmathur/orca_mini_v3_13b\nmerge_method: karcher\nparameters: {max_iter: 100, "
     "tol: "
     "1e-5}\ndtype: bfloat16\n",
     40}};

// mergekit's example of several recipes in one file: all have names, one is the result.
constexpr const char* kMega =
    "slices:\n  - sources:\n      - model: psmathur/orca_mini_v3_13b\n        layer_range: [0, "
    "40]\n"
    "        parameters: {weight: 0.5}\n      - model: garage-bAInd/Platypus2-13B\n"
    "        layer_range: [0, 40]\n        parameters: {weight: [0.5, 1]}\nmerge_method: linear\n"
    "dtype: float16\nname: first\n---\nmodels:\n  - model: first\n    parameters: {density: [1, "
    "0.7, "
    "0.1], weight: 1.0}\n  - model: WizardLM/WizardMath-13B-V1.0\n    parameters: {density: 0.33, "
    "weight: [{filter: mlp, value: 0.5}, {value: 0}]}\nmerge_method: ties\n"
    "base_model: TheBloke/Llama-2-13B-fp16\nparameters: {normalize: true, int8_mask: true}\n"
    "dtype: float16\nname: second\n";

TEST_F(RecordedRecipes, MergekitsAreRun) {
  for (const char* name :
       {"psmathur/orca_mini_v3_13b", "garage-bAInd/Platypus2-13B", "WizardLM/WizardLM-13B-V1.2",
        "WizardLM/WizardMath-13B-V1.0", "TheBloke/Llama-2-13B-fp16"}) {
    make_model(name, 40);
  }
  int done = 0;
  const auto run = [&](const fs::path& recipe, std::int64_t num_layers) {
    const MergePlan plan = plan_merge(recipe, {});
    const fs::path out = dir_.path() / concat("out", done++);
    fs::create_directories(out);
    Progress progress("merge", 1, "bytes", false);
    run_merge(plan, out, progress);
    EXPECT_EQ(CheckpointReader::open(out).config().num_layers, num_layers);
    return out;
  };
  for (const Documented& recipe : kDocumented) {
    SCOPED_TRACE(recipe.text);
    if (is_there(recipe.method)) {
      run(write(recipe.text), recipe.num_layers);
    } else {
      std::printf("left out: %s\n", recipe.method);
    }
  }
  const auto ordered = order_recipes(parse_yaml_documents(kMega, "mega.yml"));
  ASSERT_EQ(ordered.size(), 2U);
  EXPECT_EQ(ordered.back().name, "second");
  const std::string first_text(kMega, std::string(kMega).find("---"));
  fs::rename(run(write(first_text), 40), dir_.path() / "first");
  const std::string second_text = std::string(kMega).substr(std::string(kMega).find("---") + 4);
  run(write(second_text), 40);
}

}  // namespace
}  // namespace growmerge::merging
