// growmerge merge: a recipe (mergekit's YAML) -> a checkpoint, streamed.
#include "merging/merge.h"
#include "core/store/manifest.h"

#include <filesystem>

#include "core/base/error.h"
#include "launch/commands/commands.h"
#include "launch/experiment/templates.h"
#include "launch/hub_inputs.h"
#include "launch/stage_driver.h"
#include "merging/method_docs.h"

namespace growmerge::launch {
namespace {

using merging::Recipe;

namespace fs = std::filesystem;

/// The recipe looks for its models when it is read; those of an experiment may not be made yet.
/// Paths without a file of origin are taken as they are.
YamlNode with_models_to_come(const YamlNode& node) {
  YamlNode out = node;
  for (auto& [key, value] : out.entries) {
    const bool is_path = key == "model" || key == "base_model" || key == "statistics";
    if (is_path && value.is_scalar() && value.scalar.find('+') == std::string::npos &&
        !fs::exists(value.scalar) &&
        !fs::exists(fs::path(value.file).parent_path() / value.scalar)) {
      value.file.clear();
    } else {
      value = with_models_to_come(YamlNode(value));
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

YamlNode with_hub_models(YamlNode node) {
  find_hub_inputs(node, input_keys());
  return node;
}

/// Where the recipe names a path: the file:line of the first such scalar; empty where it is not
/// found (the recipe's own directory was put in front).
std::string place_of(const YamlNode& node, const std::string& path) {
  for (const auto& [key, value] : node.entries) {
    std::string place =
        value.is_scalar() && value.scalar == path ? value.where() : place_of(value, path);
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
  out.hashes_while_working = true;
  out.seed = recipe.random_seed;
  if (!recipe.base.empty()) {
    out.inputs.push_back({"base", recipe.base.string()});
  }
  for (std::size_t i = 0; i < recipe.models.size(); ++i) {
    out.inputs.push_back({concat("model ", i), recipe.models[i].path.string()});
  }
  for (std::size_t i = 0; i < recipe.models.size(); ++i) {
    if (!recipe.models[i].statistics.empty()) {
      out.inputs.push_back({concat("statistics ", i), recipe.models[i].statistics.string()});
    }
  }
  for (StageInput& input : out.inputs) {
    input.named_at = place_of(node, input.path);
  }
  return out;
}

std::string estimate(const YamlNode& node, int ranks) {
  return merging::plan_merge(merging::parse_recipe(with_hub_models(node))).describe();
}

void work(const YamlNode& node, StageRun& run) {
  const merging::MergePlan plan = merging::plan_merge(merging::parse_recipe(with_hub_models(node)));
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

}  // namespace

Command merge_command() {
  Command out;
  out.name = "merge";
  out.doc = "recipe (mergekit's YAML) -> checkpoint, streamed in little memory";
  out.usage = "--config RECIPE.yaml --out DIR";
  out.details =
      "docs/methods/merging.md says what a recipe holds, docs/methods/merge-methods.md how each "
      "method\n"
      "is defined.\n";
  out.config_docs = merging::method_tables;
  out.stage.plan = plan;
  out.stage.estimate = estimate;
  out.stage.work = work;
  out.place_paths = [](const std::vector<std::string>& paths, YamlNode& config) {
    GM_CHECK(paths.size() <= 1, kInvalidArgument, "'merge' takes one recipe, got ", paths.size(),
             " paths");
    if (paths.empty()) {
      return;
    }
    GM_CHECK(config.entries.empty(), kInvalidArgument,
             "'merge': give the recipe as path or as --config, not both");
    config = parse_yaml_file(paths.front());
  };
  return out;
}

}  // namespace growmerge::launch
