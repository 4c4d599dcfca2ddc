// Checkpoints of a run in progress: whole `step-N/` directories inside the stage's NAME.tmp.
//
// A step-N/ is a Hugging Face model directory plus trainer/: moments.safetensors ("m.NAME" and
// "v.NAME", logical tensors in the masters' dtype), master.safetensors where the model is saved in
// a smaller dtype, and state.json, with the size and XXH3-128 of every other file and of its own
// fields. It is written as step-N.tmp, synced and renamed, so what bears the name is whole. Nothing
// in it depends on the world size. Format: docs/formats/training_checkpoint.md.
//
// Rank 0 reads and writes. Saving and loading are collective, because every rank holds a part of
// the values; rank 0 alone calls what only looks at directories.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "core/contracts/communicator.h"
#include "core/contracts/parameter_store.h"
#include "core/model/checkpoint.h"
#include "core/ops/adamw.h"

namespace growmerge::distributed {

/// Where a run stands. Two runs with the same identities and the same step go on alike.
struct TrainingState {
  static constexpr int kVersion = 2;  // 1 had no checksum
  std::int64_t step = 0;              // steps done; the next one is step `step`, 0-based
  std::int64_t num_steps = 0;         // of the whole run
  std::int64_t next_row = 0;          // cursor: first row of the stream that was not trained on
  std::int64_t tokens = 0;            // positions trained on by this run
  double flops = 0.0;                 // spent by this run
  std::int64_t last_eval_step = -1;
  std::map<std::string, double> held_out;  // the losses of that evaluation, by metric name
  std::string stream;                      // BatchSource::identity()
  std::string config;                      // resumable_config()
  std::string start;                       // identity of the model that the run started from
  /// Sums of the metrics line that is not written yet (log_every > 1).
  std::map<std::string, double> window;
};

/// The values of a checkpoint, as the ranks hold them.
struct TrainingValues {
  const ModelConfig& model;
  ParameterStore& store;
  AdamWState& optimizer;  // laid out as store.owned().params
  Communicator& comm;
};

/// Which checkpoints stay: the `last` ones of those that are due every so many steps (0: none is),
/// which are the same in every run, and as many of the others, which the clock or a signal asked
/// for.
struct KeptCheckpoints {
  std::int64_t every = 0;
  std::int64_t last = 2;
};

/// Writes WORK_DIR/step-N, whole or not at all, and removes the oldest beyond what is kept.
/// Collective. Memory, on rank 0: the logical masters, then the logical moments, where its store
/// shares no memory with them. Errors, on all ranks alike: kCorrupt (NaN in the model), kIo (the
/// unfinished directory is removed; older ones stay). Returns its path.
std::filesystem::path save_training_checkpoint(const std::filesystem::path& work_dir,
                                               const TrainingState& state,
                                               const TrainingValues& values,
                                               const SaveOptions& options,
                                               const KeptCheckpoints& kept);

/// work_dir itself where a run has ended in it, else the newest whole one, or nothing where there
/// is none. One whose files or fields do not have their recorded sizes and hashes, or whose step is
/// not its name's, is passed over with a warning. Errors: kCorrupt when none is whole, kUnsupported
/// (a version from the future), kIo.
[[nodiscard]] std::optional<std::filesystem::path> newest_training_checkpoint(
    const std::filesystem::path& work_dir);

/// Renames the step-N beyond `step` to step-N.damaged, and warns: a run that goes on from `step`
/// found them damaged, and they must neither count as its own nor vanish. Errors: kIo.
void set_aside_later(const std::filesystem::path& work_dir, std::int64_t step);

/// Errors: kNotFound, kCorrupt, kUnsupported (a version from the future).
[[nodiscard]] TrainingState read_training_state(const std::filesystem::path& dir);

/// Whether `dir` holds a run's end and nothing is left to train.
[[nodiscard]] inline bool is_finished(const TrainingState& state) {
  return state.step == state.num_steps;
}

/// Loads masters, copies and moments (in place) and the optimizer's step. Collective. Errors, on
/// all ranks alike: kMismatch naming the first tensor that does not fit, kCorrupt.
void load_training_checkpoint(const std::filesystem::path& dir, const TrainingValues& values);

/// Ends a run: makes step-N's files those of work_dir itself (links where the file system has
/// them, copies elsewhere), and removes unfinished and damaged checkpoints, and the step-*
/// directories unless keep_steps, where those stay that are due by their step. Without keep_moments
/// only state.json stays in trainer/. Can be repeated after a crash: where step_dir is work_dir
/// itself, only the removing is left to do.
struct PublishOptions {
  bool keep_moments = true;
  bool keep_steps = false;
};
void publish_checkpoint(const std::filesystem::path& work_dir,
                        const std::filesystem::path& step_dir, const PublishOptions& options,
                        const KeptCheckpoints& kept);

}  // namespace growmerge::distributed
