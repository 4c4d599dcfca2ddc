// What stays the same while a run goes on: what train() was given, checked, and the plan made of
// it.
#pragma once

#include <span>

#include "core/contracts/batch_source.h"
#include "core/contracts/communicator.h"
#include "core/contracts/step_observer.h"
#include "core/model/model_config.h"
#include "distributed/train.h"
#include "distributed/train_config.h"

namespace growmerge::distributed {

struct TrainJob {
  TrainConfig config;
  ModelConfig model;
  BatchSource& source;
  BatchSource* held_out;  // may be null
  Communicator& comm;
  std::span<StepObserver* const> observers;
  TrainRun run;
  TrainPlan plan{};  // made by plan_job()
};

/// Checks everything that can be known before work starts, and fills in job.plan. Errors:
/// kInvalidArgument, kMismatch, as train() says.
void plan_job(TrainJob& job);

}  // namespace growmerge::distributed
