// An experiment file: a graph of stages (docs/experiment.md is the schema).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "launch/command.h"

namespace growmerge::launch {

/// The `run` key of an experiment.
struct RunSettings {
  std::int64_t ranks = 1;
  std::int64_t threads = 0;
  double timeout_s = 0.0;
  bool rerun = false;
  bool keep_going = false;
  std::string mpirun = "mpirun";
  std::vector<std::string> mpirun_options = {"--bind-to", "none", "--mca",
                                             "btl_vader_single_copy_mechanism", "none"};

  void describe(FieldVisitor& v) {
    v("ranks", ranks, "", "MPI ranks of a stage that does not say otherwise; 1 is a plain process");
    v("threads", threads, "",
      "threads of each rank; 0: OMP_NUM_THREADS, else cores of the machine / ranks");
    v("timeout_s", timeout_s, "s", "a stage that takes longer is stopped; 0 never");
    v("rerun", rerun, "", "replace stages, finished or not, whose settings or inputs have changed");
    v("keep_going", keep_going, "", "after a failure, still run what does not need it");
    v("mpirun", mpirun, "", "the launcher");
    v("mpirun_options", mpirun_options, "", "further options for it");
  }
};

struct ExperimentStage {
  std::string name;
  const Command* command = nullptr;
  YamlNode config;  // resolved: defaults merged, variables replaced
  int ranks = 1;
  bool ranks_given = false;  // by the stage itself; otherwise fewer where the command takes fewer
  int threads = 0;
  std::vector<std::string> needs;  // stages that must be finished before, sorted
  std::filesystem::path dir;
  std::string where;  // "file:line:column", for messages
};

struct Experiment {
  std::string name;
  std::filesystem::path out;
  RunSettings settings;
  std::vector<ExperimentStage> stages;  // in an order that respects needs
};

/// Reads and checks everything that can be checked before a stage runs. Overrides are "key=value"
/// with a key of the file, or the name of a variable. Errors: kInvalidArgument with file:line for
/// unknown keys, variables, stages and commands, cycles and each stage's config; kNotFound for
/// inputs that no stage makes.
[[nodiscard]] Experiment load_experiment(const std::filesystem::path& path,
                                         std::span<const std::string> overrides,
                                         const std::string& out);

/// The `stages` keys, for docs.
struct StageDocs {
  std::string command;
  std::int64_t ranks = 1;
  std::int64_t threads = 0;
  std::vector<std::string> needs;
  void describe(FieldVisitor& v) {
    v("command", command, "", "a growmerge command that writes a directory");
    v("ranks", ranks, "", "MPI ranks");
    v("threads", threads, "", "threads of each rank");
    v("needs", needs, "", "stages to run before, beyond those that the config refers to");
  }
};

}  // namespace growmerge::launch
