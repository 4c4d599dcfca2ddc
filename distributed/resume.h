// From the newest whole checkpoint of a run to where it stood.
#pragma once

#include <string>

#include "distributed/train_job.h"
#include "distributed/train_step.h"
#include "distributed/training_checkpoint.h"

namespace growmerge::distributed {

/// A run's state before its first step, with the identities that a checkpoint must bear.
[[nodiscard]] TrainingState first_state(const TrainJob& job);

/// Goes on from the newest whole checkpoint in job.run.work_dir, where there is one: `state`, which
/// is first_state(), becomes its own, and `training` (unless nothing is left to train) its values.
/// Returns its path, or nothing. Collective. Errors: kMismatch naming the first line that differs
/// (another stream, starting model, config or number of steps); as
/// training_checkpoint.h, on all ranks alike.
[[nodiscard]] std::string resume(const TrainJob& job, Training& training, TrainingState& state);

}  // namespace growmerge::distributed
