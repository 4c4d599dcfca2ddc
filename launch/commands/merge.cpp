// growmerge merge: a recipe (mergekit's YAML) -> a checkpoint, streamed.
#include "merging/merge.h"
#include "core/store/manifest.h"

#include <filesystem>

#include "core/base/error.h"
#include "core/base/files.h"
#include "launch/commands/commands.h"
#include "launch/experiment/templates.h"
#include "launch/hub_inputs.h"
#include "launch/stage_driver.h"
#include "merging/journal.h"
#include "merging/method_docs.h"
#include "merging/recipe_documents.h"

namespace growmerge::launch {
namespace {

using merging::names_model;
using merging::Recipe;

namespace fs = std::filesystem;

bool is_there(const YamlNode& value) {
  return fs::exists(value.scalar) || fs::exists(fs::path(value.file).parent_path() / value.scalar);
}

/// The recipe looks for its models when it is read; those of an experiment may not be made yet.
/// Paths without a file of origin are taken as they are.
YamlNode with_models_to_come(const YamlNode& node) {
  YamlNode out = node;
  for (auto& [key, value] : out.entries) {
    if (!names_model(key, value)) {
      value = with_models_to_come(YamlNode(value));
    } else if (!is_there(value)) {
      // model+adapter: both parts may be there, beside the recipe.
      const std::size_t plus = value.scalar.find('+');
      YamlNode first = value;
      YamlNode second = value;
      if (plus != std::string::npos) {
        first.scalar = value.scalar.substr(0, plus);
        second.scalar = value.scalar.substr(plus + 1);
      }
      if (plus == std::string::npos || !is_there(first) || !is_there(second)) {
        value.file.clear();
      }
    }
  }
  for (YamlNode& item : out.items) {
    item = with_models_to_come(YamlNode(item));
  }
  return out;
}

const std::vector<std::string>& input_keys() {
  static const std::vector<std::string> keys = {"model", "base_model", "statistics"};
  return keys;
}

/// Names of the hub's cache inside "model+adapter".
void find_hub_parts(YamlNode& node) {
  for (auto& [key, value] : node.entries) {
    const std::size_t plus = value.is_scalar() ? value.scalar.find('+') : std::string::npos;
    if (!names_model(key, value)) {
      find_hub_parts(value);
    } else if (plus != std::string::npos && !is_there(value)) {
      value.scalar = local_model_path(value.scalar.substr(0, plus)) + "+" +
                     local_model_path(value.scalar.substr(plus + 1));
    } else {
      value.scalar = local_model_path(value.scalar);
    }
  }
  for (YamlNode& item : node.items) {
    find_hub_parts(item);
  }
}

YamlNode with_hub_models(YamlNode node) {
  find_hub_parts(node);
  return node;
}

/// Where the recipe names a path: the file:line of the first such scalar; empty where it is not
/// found (the recipe's own directory was put in front).
std::string place_of(const YamlNode& node, const std::string& path) {
  for (const auto& [key, value] : node.entries) {
    const bool is_it =
        value.is_scalar() && (value.scalar == path || value.scalar.starts_with(path + "+") ||
                              value.scalar.ends_with("+" + path));
    std::string place = is_it ? value.where() : place_of(value, path);
    if (!place.empty()) {
      return place;
    }
  }
  for (const YamlNode& item : node.items) {
    if (std::string place = place_of(item, path); !place.empty()) {
      return place;
    }
  }
  return "";
}

StagePlan plan(const YamlNode& given) {
  const YamlNode node = with_hub_models(given);
  const Recipe recipe = merging::parse_recipe(with_models_to_come(node));
  StagePlan out;
  out.stage = "merge";
  out.config = node_to_yaml(node);
  out.fields = list_fields(node, input_keys());
  out.max_ranks = 1;
  out.resumable = true;
  out.hashes_while_working = true;
  out.seed = recipe.random_seed;
  const auto add = [&out](const std::string& role, const std::string& number,
                          const merging::ModelReference& model) {
    out.inputs.push_back({role + number, model.path.string()});
    if (!model.adapter.empty()) {
      out.inputs.push_back({"adapter of " + role + number, model.adapter.string()});
    }
  };
  for (std::size_t i = 0; i < recipe.bases.size(); ++i) {
    add("base", i == 0 ? "" : concat(" ", i), recipe.bases[i]);
  }
  for (std::size_t i = 0; i < recipe.models.size(); ++i) {
    add("model", concat(" ", i), recipe.models[i]);
  }
  for (std::size_t i = 0; i < recipe.models.size(); ++i) {
    if (!recipe.models[i].statistics.empty()) {
      out.inputs.push_back({concat("statistics ", i), recipe.models[i].statistics.string()});
    }
  }
  if (recipe.tokenizer && !recipe.tokenizer->model.path.empty()) {
    out.inputs.push_back({"tokenizer", recipe.tokenizer->model.path.string()});
  }
  for (StageInput& input : out.inputs) {
    input.named_at = place_of(node, input.path);
  }
  return out;
}

merging::MergePlan merge_plan(const YamlNode& node) {
  return merging::plan_merge(merging::parse_recipe(with_hub_models(node)));
}

StageEstimate estimate(const YamlNode& node, int ranks) {
  const merging::MergePlan plan = merge_plan(node);
  return {plan.describe(), static_cast<double>(plan.bytes_written)};
}

/// What a run of other inputs has left would stand beside this one's files.
void clear_unfinished(const fs::path& dir) {
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    if (name != "config.yaml" && (name.front() != '.' || name == merging::kJournalName)) {
      old.push_back(entry.path());
    }
  }
  for (const fs::path& path : old) {
    fs::remove_all(path);
  }
}

void work(const YamlNode& node, StageRun& run) {
  const merging::MergePlan plan = merge_plan(node);
  if (!merging::can_go_on(plan, run.dir)) {
    clear_unfinished(run.dir);
  }
  Progress progress("merging", static_cast<std::int64_t>(plan.bytes_written), "bytes",
                    run.show_progress);
  run.files = merging::run_merge(plan, run.dir, progress);
  progress.finish();
  const Manifest ledger = merging::merge_manifest(plan);
  run.manifest.flops_total = ledger.flops_total;
  run.manifest.flops_sunk = ledger.flops_sunk;
  run.manifest.tokens_total = ledger.tokens_total;
  run.manifest.notes = ledger.notes;
}

/// Whether a path is a recipe's and not MODEL+ADAPTER.
bool is_recipe(const std::string& path) {
  return path.find('+') == std::string::npos || fs::exists(path);
}

/// The recipe that merges an adapter into its model.
YamlNode recipe_of(const std::string& model) {
  return parse_yaml_text("merge_method: linear\nmodels:\n- model: " + yaml_quote(model) +
                             "\n  parameters: {weight: 1}\n",
                         "command line");
}

/// A file of several recipes: those with a name go to OUT-parts/NAME, the last one to OUT.
std::vector<StageOfFile> split_recipes(const CommandLine& line) {
  const std::string path =
      line.config_path.empty() && line.paths.size() == 1 ? line.paths.front() : line.config_path;
  if (path.empty() || !is_recipe(path)) {
    return {};
  }
  const std::vector<YamlNode> documents = parse_yaml_documents(read_file(path), path);
  if (documents.size() < 2) {
    return {};
  }
  GM_CHECK(!line.out.empty(), kInvalidArgument, "'merge' writes directories: give --out DIR");
  const std::string parts = without_trailing_slash(line.out).string() + "-parts";
  const std::vector<merging::RecipeDocument> ordered = merging::order_recipes(documents);
  std::vector<StageOfFile> out;
  for (const merging::RecipeDocument& document : ordered) {
    StageOfFile& stage = out.emplace_back();
    stage.config = merging::with_parts(document.recipe, ordered, parts);
    const bool is_last = &document == &ordered.back();
    stage.out = is_last ? line.out : parts + "/" + document.name;
    for (const std::size_t need : document.needs) {
      stage.waits = stage.waits || !fs::exists(out[need].out);
    }
    if (is_last) {
      for (const std::string& assignment : line.overrides) {
        apply_override(stage.config, assignment);
      }
    } else if (!line.dry_run && !line.print_config) {
      fs::create_directories(parts);
    }
  }
  return out;
}

}  // namespace

Command merge_command() {
  Command out;
  out.name = "merge";
  out.doc = "recipe (mergekit's YAML) -> checkpoint, streamed in little memory";
  out.usage = "[--config] RECIPE.yaml --out DIR\n       growmerge merge MODEL+ADAPTER --out DIR";
  out.details =
      "docs/methods/merging.md says what a recipe holds, docs/methods/merge-methods.md how each "
      "method\n"
      "is defined. A file of several recipes (mergekit's multi-merge) writes those with a name to\n"
      "DIR-parts/NAME and the last one to DIR. A merge that was killed goes on where it stopped;\n"
      "--verify reads the result again and holds it against its hashes.\n";
  out.config_docs = merging::method_tables;
  out.stage.plan = plan;
  out.stage.estimate = estimate;
  out.stage.work = work;
  out.split = split_recipes;
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    GM_CHECK(paths.size() <= 1, kInvalidArgument, "'merge' takes one recipe, got ", paths.size(),
             " paths");
    if (paths.empty()) {
      return;
    }
    GM_CHECK(config.entries.empty(), kInvalidArgument,
             "'merge': give the recipe as path or as --config, not both");
    config = is_recipe(paths.front()) ? parse_yaml_file(paths.front()) : recipe_of(paths.front());
  };
  return out;
}

}  // namespace growmerge::launch
