#include "launch/experiment/experiment.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.h"
#include "launch/experiment/templates.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kTopKeys = {"name", "vars", "defaults", "run", "stages"};
const std::vector<std::string> kStageKeys = {"command", "config", "ranks",
                                             "threads", "needs",  "for_each"};

/// A key that nobody reads would be a setting that silently does nothing.
void check_keys(const YamlNode& node, const std::vector<std::string>& known) {
  for (const auto& [key, value] : node.entries) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      const std::string nearest = nearest_name(key, known);
      std::string all;
      for (const std::string& name : known) {
        all += (all.empty() ? "" : ", ") + name;
      }
      fail(ErrorCode::kInvalidArgument, value.where(), ": unknown key '", key, "'",
           nearest.empty() ? "" : "; did you mean '" + nearest + "'?", " (known here: ", all, ")");
    }
  }
}

void override_experiment(YamlNode& root, std::span<const std::string> overrides) {
  for (const std::string& assignment : overrides) {
    // A variable is what most overrides mean, so its name may stand alone.
    const std::string key = assignment.substr(0, assignment.find_first_of("=."));
    if (std::find(kTopKeys.begin(), kTopKeys.end(), key) != kTopKeys.end()) {
      apply_override(root, assignment);
      continue;
    }
    const YamlNode* vars = root.find("vars");
    if (vars == nullptr || vars->find(key) == nullptr) {
      std::vector<std::string> names = kTopKeys;
      if (vars != nullptr) {
        for (const auto& entry : vars->entries) {
          names.push_back(entry.first);
        }
      }
      const std::string nearest = nearest_name(key, names);
      fail(ErrorCode::kInvalidArgument, "--set ", assignment, ": '", key,
           "' is neither a key nor a variable of the experiment",
           nearest.empty() ? "" : "; did you mean '" + nearest + "'?");
    }
    apply_override(root, "vars." + assignment);
  }
}

/// It becomes a directory beside others, and NAME.tmp, NAME.log and NAME.yaml beside that.
void check_stage_name(const std::string& name, const YamlNode& where) {
  const bool good =
      !name.empty() && name.front() != '.' && !name.ends_with(".tmp") &&
      std::all_of(name.begin(), name.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
      });
  GM_CHECK(good, kInvalidArgument, where.where(), ": '", name,
           "' cannot name a stage: use letters, digits, '-', '_' and '.'");
}

/// One stage as written, with the for_each variables it is made for.
struct RawStage {
  std::string name;
  const YamlNode* node = nullptr;
  Scope scope;
};

class Builder {
 public:
  Builder(const YamlNode& root, Experiment& experiment, const Scope& scope)
      : root_(root), experiment_(experiment), scope_(scope) {}

  void build() {
    const YamlNode* stages = root_.find("stages");
    GM_CHECK(stages != nullptr && stages->is_map() && !stages->entries.empty(), kInvalidArgument,
             root_.where(), ": an experiment needs 'stages'");
    for (const auto& [key, node] : stages->entries) {
      GM_CHECK(node.is_map(), kInvalidArgument, node.where(), ": stage '", key,
               "': expected a map with 'command' and 'config'");
      check_keys(node, kStageKeys);
      const YamlNode* each = node.find("for_each");
      for (const Scope& one :
           each != nullptr ? for_each_scopes(*each, scope_) : std::vector<Scope>{scope_}) {
        const std::string name = substitute(key, node, one);
        check_stage_name(name, node);
        GM_CHECK(names_.insert(name).second, kInvalidArgument, node.where(), ": stage '", name,
                 "' is made twice: use every for_each variable in its name");
        raw_.push_back({name, &node, one});
      }
    }
    // In a second pass, because a stage may refer to one that stands below it.
    for (RawStage& raw : raw_) {
      experiment_.stages.push_back(make_stage(raw));
    }
    sort_stages();
  }

 private:
  ExperimentStage make_stage(RawStage& raw) {
    ExperimentStage out;
    out.name = raw.name;
    out.where = raw.node->where();
    out.dir = experiment_.out / raw.name;
    // A stage needs what its config refers to: nobody has to write that twice.
    std::set<std::string> needs;
    raw.scope.stage_dir = [this, &needs](const std::string& name, const YamlNode& where) {
      check_stage_known(name, where);
      needs.insert(name);
      return (experiment_.out / name).string();
    };
    const YamlNode* command = raw.node->find("command");
    GM_CHECK(command != nullptr, kInvalidArgument, raw.node->where(), ": stage '", raw.name,
             "' needs 'command'");
    const std::string command_name = expand(*command, raw.scope).as_string();
    out.command = &with_context(command->where(),
                                [&]() -> const Command& { return find_command(command_name); });
    // Only directories can be skipped when they are there, and be read by others.
    GM_CHECK(out.command->is_stage(), kInvalidArgument, command->where(), ": '", command_name,
             "' writes no directory and cannot be a stage");
    out.config = stage_config(raw, command_name);
    out.ranks_given = raw.node->find("ranks") != nullptr;
    out.ranks = static_cast<int>(number(raw, "ranks", experiment_.settings.ranks));
    out.threads = static_cast<int>(number(raw, "threads", experiment_.settings.threads));
    GM_CHECK(out.ranks >= 1 && out.threads >= 0, kInvalidArgument, out.where, ": stage '", raw.name,
             "': ranks must be at least 1 and threads at least 0");
    if (const YamlNode* given = raw.node->find("needs")) {
      const YamlNode list = expand(*given, raw.scope);
      for (const YamlNode& item : list.is_sequence() ? list.items : std::vector<YamlNode>{list}) {
        check_stage_known(item.as_string(), *given);
        needs.insert(item.as_string());
      }
    }
    out.needs.assign(needs.begin(), needs.end());
    return out;
  }

  YamlNode stage_config(const RawStage& raw, const std::string& command_name) {
    YamlNode config;
    config.kind = YamlNode::Kind::kMap;
    config.file = raw.node->file;
    config.line = raw.node->line;
    config.column = raw.node->column;
    const YamlNode* defaults = root_.find("defaults");
    if (const YamlNode* under = defaults != nullptr ? defaults->find(command_name) : nullptr) {
      config = *under;
    }
    if (const YamlNode* own = raw.node->find("config")) {
      // Merged before variables are replaced, so that a default may name for_each variables.
      config = merge_nodes(config, *own);
    }
    return expand(config, raw.scope);
  }

  std::int64_t number(const RawStage& raw, const char* key, std::int64_t fallback) const {
    const YamlNode* node = raw.node->find(key);
    return node != nullptr ? expand(*node, raw.scope).as_int() : fallback;
  }

  void check_stage_known(const std::string& name, const YamlNode& where) const {
    if (names_.count(name) == 0) {
      const std::vector<std::string> all(names_.begin(), names_.end());
      const std::string nearest = nearest_name(name, all);
      fail(ErrorCode::kInvalidArgument, where.where(), ": there is no stage '", name, "'",
           nearest.empty() ? "" : "; did you mean '" + nearest + "'?");
    }
  }

  /// File order, each stage behind what it needs.
  void sort_stages() {
    std::vector<ExperimentStage> sorted;
    std::set<std::string> placed;
    while (sorted.size() < experiment_.stages.size()) {
      // A few dozen stages: looking through all for each costs nothing.
      const auto next = std::find_if(
          experiment_.stages.begin(), experiment_.stages.end(), [&](const ExperimentStage& stage) {
            return placed.count(stage.name) == 0 &&
                   std::all_of(stage.needs.begin(), stage.needs.end(),
                               [&](const std::string& need) { return placed.count(need) != 0; });
          });
      if (next == experiment_.stages.end()) {
        std::string names;
        for (const ExperimentStage& stage : experiment_.stages) {
          if (placed.count(stage.name) == 0) {
            names += (names.empty() ? "" : ", ") + stage.name;
          }
        }
        fail(ErrorCode::kInvalidArgument, root_.file,
             ": stages need each other in a circle: ", names);
      }
      placed.insert(next->name);
      sorted.push_back(*next);
    }
    experiment_.stages = std::move(sorted);
  }

  const YamlNode& root_;
  Experiment& experiment_;
  const Scope& scope_;
  std::set<std::string> names_;
  std::vector<RawStage> raw_;
};

/// Whether `path` lies in the experiment's directory, so that a stage makes it.
bool is_made_by_stage(const Experiment& experiment, const fs::path& path) {
  const fs::path relative = fs::absolute(path).lexically_normal().lexically_relative(
      fs::absolute(experiment.out).lexically_normal());
  return !relative.empty() && *relative.begin() != "..";
}

/// Every stage is planned, which loads and checks its config: a mistake in the last one should not
/// wait for the hours of those before it.
void check_configs(Experiment& experiment) {
  for (ExperimentStage& stage : experiment.stages) {
    with_context("stage '" + stage.name + "'", [&] {
      const StagePlan plan = stage.command->stage.plan(stage.config);
      // The experiment's number is a wish for all, a stage's own one is meant.
      if (!stage.ranks_given && plan.max_ranks > 0) {
        stage.ranks = std::min(stage.ranks, plan.max_ranks);
      }
      GM_CHECK(plan.max_ranks == 0 || stage.ranks <= plan.max_ranks, kInvalidArgument, stage.where,
               ": '", stage.command->name, "' works on ", plan.max_ranks, " rank(s), not on ",
               stage.ranks, ": write 'ranks: ", plan.max_ranks, "'");
      for (const StageInput& input : plan.inputs) {
        // It will be there when the stage starts, and is looked at then.
        if (is_made_by_stage(experiment, input.path)) {
          continue;
        }
        if (input.list_files) {
          (void)input.list_files();
        } else {
          GM_CHECK(fs::exists(input.path), kNotFound, stage.where, ": input '", input.role,
                   "': no '", input.path, "'");
        }
      }
    });
  }
}

}  // namespace

Experiment load_experiment(const fs::path& path, std::span<const std::string> overrides,
                           const std::string& out) {
  YamlNode root = parse_yaml_file(path);
  GM_CHECK(root.is_map(), kInvalidArgument, path.string(),
           ": an experiment is a map with 'stages' (docs/experiment.md)");
  override_experiment(root, overrides);
  check_keys(root, kTopKeys);

  Experiment experiment;
  const YamlNode* name = root.find("name");
  experiment.name = name != nullptr ? name->as_string() : path.stem().string();
  experiment.out = out.empty() ? fs::path("runs") / experiment.name : fs::path(out);
  if (!experiment.out.has_filename()) {
    experiment.out = experiment.out.parent_path();
  }
  YamlNode vars;
  vars.kind = YamlNode::Kind::kMap;
  if (const YamlNode* given = root.find("vars"); given != nullptr && !given->is_null()) {
    vars = *given;
  }
  // These two are always there for ${...}.
  set_scalar(vars, "out", experiment.out.string());
  // Data that comes with an experiment is named from where its file lies.
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  set_scalar(vars, "experiment_dir", folder.string());

  Scope scope;
  scope.vars = &vars;
  if (const YamlNode* run = root.find("run")) {
    experiment.settings = config_from_yaml<RunSettings>(expand(*run, scope));
  }
  if (const YamlNode* defaults = root.find("defaults")) {
    // Defaults of a command that is not used would otherwise never be looked at.
    for (const auto& [command, node] : defaults->entries) {
      with_context(node.where(), [&, &key = command] { (void)find_command(key); });
    }
  }
  Builder(root, experiment, scope).build();
  check_configs(experiment);
  return experiment;
}

}  // namespace growmerge::launch
