// One optimizer step: this rank's share of the rows, their gradients, the sums over ranks and the
// update.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/contracts/parameter_store.h"
#include "core/ops/adamw.h"
#include "core/transformer/transformer.h"
#include "distributed/step_update.h"
#include "distributed/train_job.h"
#include "distributed/training_checkpoint.h"

namespace growmerge::distributed {

/// What steps change.
struct Training {
  std::unique_ptr<ParameterStore> store;
  AdamWState optimizer;  // laid out as store->owned().params
  Workspace workspace;
};
/// Puts `params`, rank 0's, where the job trains. Collective.
[[nodiscard]] Training start_training(const TrainJob& job, const ParamMap& params);

/// A step that was taken (on CUDA: queued), and whose numbers nobody has read yet.
struct TakenStep {
  std::int64_t step = 0;  // from 1
  std::int64_t first_row = 0;
  std::int64_t tokens = 0;  // of the run, this step's included
  double lr = 0.0;
  std::vector<double> targets{};  // per source, over all ranks
  int stop_signal = 0;            // that a rank got; 0 for none
  bool is_observed = false;       // an observer on a rank wants it
  bool saves = false;             // rank 0's clock wants a checkpoint
  // These three are the same on all ranks.
  StepNumbers numbers{};
};

/// Takes the step behind `state`, which becomes that of the step. `saves`: this rank wants a
/// checkpoint behind it. Collective.
[[nodiscard]] TakenStep take_step(const TrainJob& job, Training& training, TrainingState& state,
                                  bool saves);

}  // namespace growmerge::distributed
