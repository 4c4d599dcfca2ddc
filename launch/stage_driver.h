// Running one stage: is it there already, NAME.tmp, the work, manifest.json, rename.
#pragma once

#include "launch/stage_plan.h"

namespace growmerge::launch {

/// Runs the command as a stage into `line.out`. A finished directory of the same identity is left
/// as it is (exit code 0). Collective. Errors: those of the stage; kInvalidArgument when the
/// directory exists with another identity, naming what changed.
int run_stage(const Command& command, const CommandLine& line, const YamlNode& config,
              Communicator& comm);

}  // namespace growmerge::launch
