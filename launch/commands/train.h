// growmerge train in three parts: what training needs of its config (train_preparation.cpp), what
// it will cost (train_estimate.cpp), and starting it (train.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/contracts/batch_source.h"
#include "core/contracts/step_observer.h"
#include "core/model/checkpoint.h"
#include "data/held_out_stream.h"
#include "data/mixture.h"
#include "distributed/device.h"
#include "distributed/train_config.h"
#include "launch/command.h"
#include "launch/model_init.h"
#include "launch/symmetry.h"

namespace growmerge::launch {

/// The FLOPs that so many tokens cost with a model.
struct MatchConfig {
  std::string model;
  std::int64_t tokens = 0;

  void describe(FieldVisitor& v) {
    v("model", model, "", "a checkpoint (only its config.json is read)", v.kInput);
    v("tokens", tokens, "tokens", "training tokens whose cost counts");
  }
};

struct TrainCommandConfig {
  std::string model;
  InitConfig init;
  data::MixtureConfig mixture;
  data::HeldOutConfig held_out;
  std::vector<MatchConfig> match;
  SymmetryConfig symmetry;
  distributed::TrainConfig train;

  void describe(FieldVisitor& v) {
    v("model", model, "", "checkpoint to continue from; empty: random weights of `init`", v.kInput);
    v("init", init, "", "a new model; used where `model` is empty");
    v("mixture", mixture, "", "what is trained on");
    v("held_out", held_out, "", "what the loss is watched on");
    v("match", match, "",
      "budget as the sum of what tokens cost with the models named (3 x forward, causal, at this "
      "run's row length); instead of `budget`");
    v("symmetry", symmetry, "", "watching the clones of a grown model");
    train.describe(v);
  }

  /// Errors: kInvalidArgument.
  void validate() const;
};

/// What the run starts from and takes tokenizer and companions of: a checkpoint, or a new model's
/// tokenizer.
[[nodiscard]] std::string start_path(const TrainCommandConfig& config);
/// Of the model that training starts with; reads its config.json or tokenizer alone.
[[nodiscard]] ModelConfig start_config(const TrainCommandConfig& config);
/// What a resumed run must have started from: the checkpoint, or the new model's tokenizer and
/// shape. `input_identity` is that of start_path().
[[nodiscard]] std::string start_identity(const TrainCommandConfig& config,
                                         const std::string& input_identity);
/// The training config with its budget settled: `match` becomes FLOPs.
[[nodiscard]] distributed::TrainConfig resolve_budget(const TrainCommandConfig& config);

/// What training needs beside ranks and devices, on every rank.
struct PreparedTraining {
  distributed::TrainConfig train;
  Model model;  // float32
  std::unique_ptr<BatchSource> source;
  std::unique_ptr<BatchSource> held_out;   // null where nothing is held out
  std::unique_ptr<StepObserver> symmetry;  // null where the model is not a grown one
};
/// Opens and loads all of it. Not collective. Errors: those of the model and the shards.
[[nodiscard]] PreparedTraining prepare_training(const TrainCommandConfig& config);

/// For --dry-run. The inputs exist.
[[nodiscard]] std::string estimate_training(const TrainCommandConfig& config, int ranks);
/// Refuses work that cannot end well, before it starts. Every rank calls it and looks at its GPU,
/// rank 0 of a machine looks at its memory and rank 0 of all at the disk. Errors: kInvalidArgument
/// where memory is short, kIo where the disk is.
void require_room(const TrainCommandConfig& config, const distributed::Placement& place,
                  const StageRun& run);

}  // namespace growmerge::launch
