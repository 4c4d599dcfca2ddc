#include "distributed/train_config.h"

#include <cmath>

#include "core/base/error.h"
#include "core/model/flops.h"
#include "core/store/safetensors.h"

namespace growmerge::distributed {

void TrainConfig::validate() const {
  // Two budgets would contradict each other, and none would train for ever.
  const int given = (budget.steps ? 1 : 0) + (budget.tokens ? 1 : 0) + (budget.flops ? 1 : 0);
  GM_CHECK(given == 1, kInvalidArgument,
           "budget: expected exactly one of steps, tokens and flops, got ", given);
  GM_CHECK(budget.steps.value_or(1) > 0 && budget.tokens.value_or(1) > 0 &&
               budget.flops.value_or(1.0) > 0.0,
           kInvalidArgument, "budget: must be positive");
  GM_CHECK(batch_rows > 0, kInvalidArgument, "batch_rows: must be positive, got ", batch_rows);
  const auto not_negative = [](double value, const char* key) {
    GM_CHECK(value >= 0.0 && std::isfinite(value), kInvalidArgument, key,
             ": must not be negative, got ", value);
  };
  not_negative(static_cast<double>(microbatch_rows), "microbatch_rows");
  not_negative(clip_norm, "clip_norm");
  not_negative(static_cast<double>(eval_every), "eval_every");
  not_negative(static_cast<double>(eval_rows), "eval_rows");
  not_negative(static_cast<double>(checkpoint_every), "checkpoint_every");
  not_negative(checkpoint_minutes, "checkpoint_minutes");
  not_negative(peak_tflops, "peak_tflops");
  not_negative(timeout_s, "timeout_s");
  GM_CHECK(keep_last > 0, kInvalidArgument, "keep_last: at least 1, got ", keep_last);
  GM_CHECK(log_every > 0, kInvalidArgument, "log_every: at least 1, got ", log_every);
  GM_CHECK(bucket_mb > 0.0, kInvalidArgument, "bucket_mb: must be positive, got ", bucket_mb);
  const at::ScalarType compute = parse_dtype(dtype, "dtype");
  // Its smallest number is 6e-8; gradients of a large batch are below.
  GM_CHECK(compute != at::kHalf, kInvalidArgument,
           "dtype: float16 underflows without loss scaling; take bfloat16 or float32");
  static_cast<void>(parse_dtype(save_dtype, "save_dtype"));
  GM_CHECK(device == "auto" || device == "cpu" || device == "cuda", kInvalidArgument,
           "device: expected auto, cpu or cuda, got '", device, "'");
  GM_CHECK(profile.from_step >= 0 && profile.steps >= 1, kInvalidArgument, "profile: from_step ",
           profile.from_step, " and steps ", profile.steps, ", expected >= 0 and >= 1");
  optimizer.validate();
  schedule.validate();
}

at::ScalarType master_dtype(const TrainConfig& config) {
  return config.dtype == "float64" ? at::kDouble : at::kFloat;
}

TrainPlan plan_training(const TrainConfig& config, const ModelConfig& model,
                        std::int64_t row_tokens) {
  TrainPlan plan;
  plan.tokens_per_step = config.batch_rows * row_tokens;
  plan.flops_per_step = train_flops_per_token(model, row_tokens, FlopConvention::kCausal) *
                        static_cast<double>(plan.tokens_per_step);
  if (config.budget.steps) {
    plan.steps = *config.budget.steps;
  } else if (config.budget.tokens) {
    // Rounded to the nearest, and the mismatch is told: comparisons are made at matched budgets.
    const double exact =
        static_cast<double>(*config.budget.tokens) / static_cast<double>(plan.tokens_per_step);
    plan.steps = std::max<std::int64_t>(1, std::llround(exact));
    plan.mismatch = (static_cast<double>(plan.steps) - exact) / exact;
  } else {
    // The same rounding that plans and experiments use, so they agree on the number of steps.
    const MatchedBudget matched =
        match_budget(model, *config.budget.flops, row_tokens, plan.tokens_per_step);
    plan.steps = matched.steps;
    plan.mismatch = matched.mismatch;
  }
  GM_CHECK(plan.steps > 0, kInvalidArgument, "budget: less than one step of ", plan.tokens_per_step,
           " tokens; lower batch_rows");
  return plan;
}

std::string resumable_config(const TrainConfig& config) {
  const TrainConfig defaults;
  TrainConfig copy = config;
  // What changes rounding at most, or only what is said and kept of a run.
  copy.microbatch_rows = defaults.microbatch_rows;
  copy.device = defaults.device;
  copy.cuda_graphs = defaults.cuda_graphs;
  copy.eval_every = defaults.eval_every;
  copy.eval_rows = defaults.eval_rows;
  copy.checkpoint_every = defaults.checkpoint_every;
  copy.checkpoint_minutes = defaults.checkpoint_minutes;
  copy.keep_last = defaults.keep_last;
  copy.keep_checkpoints = defaults.keep_checkpoints;
  copy.save_trainer_state = defaults.save_trainer_state;
  copy.save_dtype = defaults.save_dtype;
  copy.log_every = defaults.log_every;
  copy.peak_tflops = defaults.peak_tflops;
  copy.bucket_mb = defaults.bucket_mb;
  copy.timeout_s = defaults.timeout_s;
  copy.profile = defaults.profile;
  return dump_config(copy);
}

}  // namespace growmerge::distributed
