// What a command is: one row of the static table in commands/commands.cpp.
//
// Most commands are stages: functions of (input paths, resolved config, seed) that write one new
// directory. A stage gives three functions over its config (plan, estimate, work); stage_driver.h
// does everything else (skip, NAME.tmp, manifest, dry run), the same for all of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/yaml.h"
#include "core/contracts/communicator.h"
#include "core/store/manifest.h"
#include "launch/hub_inputs.h"

namespace growmerge::launch {

/// What a person typed behind `growmerge COMMAND`.
struct CommandLine {
  std::string command;
  std::vector<std::string> paths;
  std::string config_path;
  std::string out;
  std::vector<std::string> overrides;  // "key=value"
  bool dry_run = false;
  bool print_config = false;
  bool verify = false;  // inspect alone
};

/// Something a stage reads. Its identity is that of `path`, or of the files that `list_files` names
/// where a path is a pattern or a folder that is read in part (called only when they must exist).
struct StageInput {
  std::string role;
  std::string path;
  std::function<std::vector<std::filesystem::path>()> list_files = nullptr;
  std::string named_at = "";  // file:line of the config, where it is known
};

/// What is known of a stage before it runs. Nothing that is named here needs to exist yet.
struct StagePlan {
  std::string stage;   // Manifest::stage
  std::string config;  // resolved, as YAML: what --print-config shows and the output keeps
  /// What of it counts in the identity.
  std::vector<DescribedField> fields{};
  std::vector<StageInput> inputs;
  std::uint64_t seed = 0;
  bool resumable = false;        // NAME.tmp is kept and continued
  bool saves_on_signal = false;  // SIGUSR1 makes it write a checkpoint and end
  int max_ranks = 0;             // 0: any number
  /// work() reads all inputs anyway and leaves path_identity() with their hashes, so that
  /// identities are asked for when it is done (one rank; not resumable).
  bool hashes_while_working = false;
};

/// A stage while it runs.
struct StageRun {
  Communicator& comm;
  std::filesystem::path dir;  // NAME.tmp
  /// Collects flops, tokens and notes; only rank 0's counts.
  Manifest manifest;
  bool show_progress = false;
  /// Before a part of the result is kept for a later start. Rank 0 alone. Errors: kIo where an
  /// input has changed.
  std::function<void()> check_inputs = [] {};
  std::vector<FileRecord> files = {};  // written files whose hashes are known already
};

struct StageEstimate {
  std::string text;  // what is read, written, needed and what it costs, in lines
  std::optional<double> output_bytes{};  // held against the disk, where it is known
};

struct StageFunctions {
  /// Loads and checks the config. Errors: kInvalidArgument with file:line.
  std::function<StagePlan(const YamlNode& config)> plan;
  /// For --dry-run. Inputs exist.
  std::function<StageEstimate(const YamlNode& config, int ranks)> estimate;
  /// Collective over run.comm.
  std::function<void(const YamlNode& config, StageRun& run)> work;
};

/// One stage of a config file that holds several.
struct StageOfFile {
  YamlNode config;
  std::string out;
  bool waits = false;  // for the output of another, which may not be there yet
};

struct Command {
  const char* name = "";
  const char* doc = "";      // one line
  const char* usage = "";    // what PATH... are
  const char* details = "";  // shown by --help behind the usage
  /// Config of the command; empty where it has none.
  std::function<void(FieldVisitor&)> describe;
  /// Markdown for docs/config.md and --help of a command whose config is no struct.
  std::function<std::string()> config_docs;
  /// Puts PATH... into the config; null where the command takes no paths as config.
  std::function<void(const std::vector<std::string>& paths, YamlNode& config)> place_paths;
  StageFunctions stage;  // empty where the command is no stage
  /// The stages of a config file that holds several, in order; empty where it holds one. Null where
  /// the command knows no such files.
  std::function<std::vector<StageOfFile>(const CommandLine& line)> split;
  /// A stage that also works without --out, by printing.
  std::function<void(const YamlNode& config, Communicator& comm)> prints_without_out;
  /// Whether the first path asks for something that is no stage (`tokenizer inspect`), and doing
  /// it.
  std::function<bool(const CommandLine& line)> is_inspection;
  std::function<int(const CommandLine& line)> inspect;
  /// For commands that are no stage, which read their command line themselves and are always one
  /// plain process. Returns the exit code.
  std::function<int(const CommandLine& line)> run;

  [[nodiscard]] bool is_stage() const { return static_cast<bool>(stage.work); }
};

/// A stage's config, with models of the hub's cache found.
template <class Config>
[[nodiscard]] Config load_stage_config(const YamlNode& node) {
  Config config = config_from_yaml<Config>(node);
  find_hub_inputs([&config](FieldVisitor& v) { config.describe(v); });
  return config;
}

/// A command of a config struct: Plan(config), Estimate(config, ranks), which returns a
/// StageEstimate or its text alone, Work(config, run).
template <class Config, class Plan, class Estimate, class Work>
void set_stage(Command& command, Plan plan, Estimate estimate, Work work) {
  command.describe = [](FieldVisitor& v) {
    Config config;
    config.describe(v);
  };
  command.stage.plan = [plan](const YamlNode& node) {
    Config config = load_stage_config<Config>(node);
    StagePlan out = plan(config);
    out.config = dump_config(config);
    out.fields = list_fields([&config](FieldVisitor& v) { config.describe(v); });
    return out;
  };
  command.stage.estimate = [estimate](const YamlNode& node, int ranks) {
    return StageEstimate(estimate(load_stage_config<Config>(node), ranks));
  };
  command.stage.work = [work](const YamlNode& node, StageRun& run) {
    work(load_stage_config<Config>(node), run);
  };
}

/// All commands, in the order in which --help shows them.
[[nodiscard]] const std::vector<Command>& commands();
/// Errors: kInvalidArgument naming the nearest command.
[[nodiscard]] const Command& find_command(const std::string& name);

/// The config of a command line: file, then paths, then overrides. `run` keeps its overrides, and
/// `merge` reads the recipe as it is.
[[nodiscard]] YamlNode load_command_config(const Command& command, const CommandLine& line);

/// Sets root[key], replacing what is there.
void set_scalar(YamlNode& root, const std::string& key, const std::string& value);

}  // namespace growmerge::launch
