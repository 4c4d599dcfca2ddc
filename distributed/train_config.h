// What a user chooses about training.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/config.h"
#include "core/model/lr_schedule.h"
#include "core/model/model_config.h"
#include "core/ops/adamw.h"

namespace growmerge::distributed {

/// How long to train: exactly one of the three.
struct BudgetConfig {
  std::optional<std::int64_t> steps;
  std::optional<std::int64_t> tokens;
  std::optional<double> flops;

  void describe(FieldVisitor& v) {
    v("steps", steps, "steps", "optimizer steps");
    v("tokens", tokens, "tokens", "positions of training rows; rounded to whole steps");
    v("flops", flops, "FLOP",
      "3 x forward with causal attention and the head; rounded to whole steps");
  }
};

/// A window of steps in which the time of every operator is taken.
struct ProfileConfig {
  std::int64_t from_step = 0;
  std::int64_t steps = 3;

  void describe(FieldVisitor& v) {
    v("from_step", from_step, "steps",
      "first step of the window, from 1: profile.md and trace.json (Chrome's format) of rank 0 say "
      "where its time goes; 0 takes none");
    v("steps", steps, "steps", "length of the window");
  }
};

struct TrainConfig {
  BudgetConfig budget;
  std::int64_t batch_rows = 8;
  std::int64_t microbatch_rows = 0;
  AdamWConfig optimizer;
  LrScheduleConfig schedule;
  double clip_norm = 1.0;
  std::string dtype = "float32";
  std::string device = "auto";
  bool cuda_graphs = true;
  std::string save_dtype = "float32";
  std::int64_t seed = 0;
  std::int64_t eval_every = 0;
  std::int64_t eval_rows = 0;
  std::int64_t checkpoint_every = 0;
  double checkpoint_minutes = 30.0;
  std::int64_t keep_last = 2;
  bool keep_checkpoints = false;
  bool save_trainer_state = true;
  std::int64_t log_every = 1;
  double peak_tflops = 0.0;
  double bucket_mb = 8.0;
  double timeout_s = 1800.0;
  ProfileConfig profile;

  void describe(FieldVisitor& v) {
    v("budget", budget, "", "how long to train: exactly one of steps, tokens, flops");
    v("batch_rows", batch_rows, "rows", "rows of one optimizer step, over all ranks");
    v("microbatch_rows", microbatch_rows, "rows",
      "rows of one forward and backward pass on a rank; 0 takes all of a rank's rows at once",
      v.kPlace);
    v("optimizer", optimizer, "", "AdamW");
    v("schedule", schedule, "", "learning rate");
    v("clip_norm", clip_norm, "", "largest global gradient norm; 0 never clips");
    v("dtype", dtype, "",
      "of forward and backward: float32, bfloat16 or float64; masters are float32 at least");
    v("device", device, "",
      "cpu, cuda (one GPU a rank), or auto: cuda where every rank has the back end and a GPU, else "
      "cpu; no part of the result's identity",
      v.kPlace);
    v("cuda_graphs", cuda_graphs, "",
      "on GPUs: record the forward and backward pass and start it as a whole where gradients are "
      "not summed over ranks meanwhile; the same bits",
      v.kPlace);
    v("save_dtype", save_dtype, "", "of the saved model: float32, bfloat16, float16 or float64");
    v("seed", seed, "", "of a model that starts from random weights");
    v("eval_every", eval_every, "steps",
      "held-out loss every so many steps, and at the start and end; 0 only at start and end");
    v("eval_rows", eval_rows, "rows", "held-out rows that are scored; 0 takes all");
    v("checkpoint_every", checkpoint_every, "steps",
      "a checkpoint every so many steps; 0 writes none for that reason");
    v("checkpoint_minutes", checkpoint_minutes, "min",
      "and one when the last is so old, so that a killed run loses no more; 0 writes none for that "
      "reason. A stop signal always does",
      v.kPlace);
    v("keep_last", keep_last, "", "checkpoints kept while training");
    v("keep_checkpoints", keep_checkpoints, "",
      "leave the last checkpoints in the finished directory");
    v("save_trainer_state", save_trainer_state, "",
      "leave optimizer moments and masters (trainer/) in the finished directory");
    v("log_every", log_every, "steps", "one line of metrics, over so many steps", v.kPlace);
    v("peak_tflops", peak_tflops, "TFLOP/s",
      "peak of one rank's device, to report MFU against; 0 takes the data sheet's for bfloat16 on "
      "A100, H100, H200 and B200, and reports none elsewhere",
      v.kPlace);
    v("bucket_mb", bucket_mb, "MB",
      "gradients are summed over ranks in pieces of this size; on GPUs of 64 MB at least",
      v.kPlace);
    v("timeout_s", timeout_s, "s",
      "how long a rank waits for the others before it ends the job; 0 for ever", v.kPlace);
    v("profile", profile, "", "where the time of some steps goes");
  }
  /// Errors: kInvalidArgument naming the key.
  void validate() const;
};

/// float32 for float32 and bfloat16 compute, float64 for float64: of masters, gradients, moments.
[[nodiscard]] at::ScalarType master_dtype(const TrainConfig& config);

/// The budget in whole steps.
struct TrainPlan {
  std::int64_t steps = 0;
  std::int64_t tokens_per_step = 0;
  double flops_per_step = 0.0;  // ledger's own convention, FlopConvention::kCausal
  double mismatch = 0.0;        // (spent - budget) / budget, by rounding to whole steps
};
[[nodiscard]] TrainPlan plan_training(const TrainConfig& config, const ModelConfig& model,
                                      std::int64_t row_tokens);

/// The config as YAML, without what may differ between a run and its resumption (device, logging,
/// evaluation, checkpoint policy, time-outs, microbatch, profile): two runs with the same text,
/// model and stream take the same steps.
[[nodiscard]] std::string resumable_config(const TrainConfig& config);

}  // namespace growmerge::distributed
