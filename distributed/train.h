// Data-parallel (continued) pretraining, on one rank or many.
//
// A step takes rows [s B, (s + 1) B) of the stream; rank r computes its contiguous share of them in
// microbatches and adds up the gradients of the *sum* of token losses. Sums over ranks are divided
// once by the number of targets of the whole step (in AdamW's factor, together with the clip
// factor), so the loss and the update are token-weighted over the global batch and world size and
// accumulation change rounding alone. Gradients are reduced in buckets while the last microbatch's
// backward runs. Parameters, gradients and moments are float32 (float64 for float64 compute);
// bfloat16 compute works on rounded copies.
//
// On CUDA nothing waits for the device inside a step: its loss and norm are checked there, a step
// that fails the check changes nothing, and the host reads the numbers, and fails, a step later.
// Evaluation, checkpoints and observers that want a step come after its numbers were read.
//
// FLOPs are counted by the ledger's own convention (core/model/flops.h, kCausal at unbroken rows),
// with which budgets are matched.
//
// Files in work_dir: step-N/ (training_checkpoint.h), metrics.jsonl and tensorboard/; at the end
// the model itself and trainer/. Only rank 0 writes. Every rank must see work_dir.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/contracts/batch_source.h"
#include "core/contracts/communicator.h"
#include "core/contracts/step_observer.h"
#include "core/model/checkpoint.h"
#include "distributed/train_config.h"

namespace growmerge::distributed {

/// Where a run takes place and what came before it.
struct TrainRun {
  std::filesystem::path work_dir{};         // NAME.tmp; exists
  std::filesystem::path companions_from{};  // tokenizer and generation files to carry along
  std::string start_identity{};             // of the model given: resuming with another is refused
  /// Called on rank 0 before a checkpoint is kept; what it throws ends the run with the one before.
  std::function<void()> check_inputs = [] {};
  /// Seconds, for checkpoint_minutes: tests move it.
  std::function<double()> clock = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  };
  double flops_before = 0.0;  // spent since the base was born, for the record
  std::int64_t tokens_before = 0;
  at::Device device = at::Device(at::kCPU);  // this rank's (device.h), with CUDA the current one
  std::string device_name{};
  /// Steps that may be under way before the numbers of the first are read, checked and logged; by
  /// default 1 on CUDA, so that the device never waits for the host, and 0 on the CPU.
  std::optional<std::size_t> steps_read_late{};
};

struct TrainResult {
  std::int64_t steps = 0;
  std::int64_t tokens = 0;  // positions trained on by this run, resumed parts included
  double flops = 0.0;
  double budget_mismatch = 0.0;
  std::int64_t resumed_from = 0;           // step that this process started at
  std::vector<double> losses;              // of the steps this process did, nats per target
  std::map<std::string, double> held_out;  // last "held_out_loss", "held_out_loss/NAME"
  double seconds = 0.0;                    // of this process
};

/// Trains `model` (any floating dtype; converted to the masters') and leaves the result in
/// work_dir, ready for StageOutput::finish. Resumes from the newest whole checkpoint in work_dir.
/// Collective: all ranks give the same arguments (rank 0's weights win), but for the device, whose
/// kind alone is the same. With CUDA, `comm` carries CUDA tensors.
///
/// Same world size and threads: the same bits, resumed or not. Other world sizes: the same rows at
/// every step, sums rounded differently.
/// Errors, the same on every rank: kInvalidArgument (config; a stream with too few rows),
/// kMismatch (vocabularies; a checkpoint of another stream, config or model), kCorrupt (a loss or
/// gradient that is not finite, with step and rows; nothing is saved over), kIo, kInterrupted (a
/// stop signal: a checkpoint is written, the same command goes on), kDistributed.
[[nodiscard]] TrainResult train(const TrainConfig& config, Model model, BatchSource& source,
                                BatchSource* held_out, Communicator& comm,
                                std::span<StepObserver* const> observers, const TrainRun& run);

/// Bytes one rank needs: masters, gradients, moments, compute copies, activations of a microbatch.
struct TrainingMemory {
  std::int64_t host = 0;
  std::int64_t device = 0;  // 0 on the CPU
};
[[nodiscard]] TrainingMemory training_memory(const TrainConfig& config, const ModelConfig& model,
                                             std::int64_t row_tokens, int world_size,
                                             at::DeviceType device);

/// Bytes that checkpoints, and with them the finished model, take on disk at a time. (A stop signal
/// adds one where fewer than keep_last are written.)
[[nodiscard]] std::int64_t checkpoint_bytes(const TrainConfig& config, const ModelConfig& model,
                                            std::int64_t num_steps);

/// Threads for this rank's share of its machine's cores. mpirun may bind a rank to some cores,
/// which it then has for itself; ranks with the same cores share them, and no more than their
/// control group's quota of time. Collective.
[[nodiscard]] int threads_for_rank(Communicator& comm);

}  // namespace growmerge::distributed
