// Running an experiment: every stage in order, each as a process of its own.
#pragma once

#include "launch/command.h"

namespace growmerge::launch {

/// The `run` command. Errors: those of load_experiment(); kInvalidArgument under mpirun.
int run_experiment(const CommandLine& line);

}  // namespace growmerge::launch
