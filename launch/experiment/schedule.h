// The stages of an experiment one after another, each as a process of its own.
#pragma once

#include "launch/experiment/experiment.h"

namespace growmerge::launch {

/// Starts every stage that is not up to date, shows its progress, and prints what came of each.
/// Returns the exit code.
int run_stages(const Experiment& experiment);

}  // namespace growmerge::launch
