// What starts a stage: the words of its command line and what is laid over the environment.
// Called by run_stage_process() in schedule.cpp; another launcher is a function beside
// local_start() that is chosen there.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "launch/experiment/experiment.h"

namespace growmerge::launch {

/// A program that runs the stage into its directory and ends when the stage does.
struct StageStart {
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;
};

/// On this machine: growmerge itself where the stage asks for one rank, else mpirun. `config` is
/// the stage's config file.
[[nodiscard]] StageStart local_start(const ExperimentStage& stage, const RunSettings& settings,
                                     const std::filesystem::path& config);

}  // namespace growmerge::launch
