#include "core/model/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/error.h"

namespace growmerge {

void LrScheduleConfig::validate() const {
  GM_CHECK(kind == "wsd" || kind == "cosine" || kind == "constant", kInvalidArgument,
           "schedule: kind must be wsd, cosine or constant, got '", kind, "'");
  GM_CHECK(decay_shape == "linear" || decay_shape == "sqrt", kInvalidArgument,
           "schedule: decay_shape must be linear or sqrt, got '", decay_shape, "'");
  GM_CHECK(std::isfinite(lr) && lr >= 0.0, kInvalidArgument,
           "schedule: lr must be finite and not negative, got ", lr);
  GM_CHECK(warmup_steps >= 0, kInvalidArgument, "schedule: warmup_steps must not be negative, got ",
           warmup_steps);
  GM_CHECK(warmup_tokens >= 0, kInvalidArgument,
           "schedule: warmup_tokens must not be negative, got ", warmup_tokens);
  GM_CHECK(decay_fraction >= 0.0 && decay_fraction <= 1.0, kInvalidArgument,
           "schedule: decay_fraction must be in [0, 1], got ", decay_fraction);
  GM_CHECK(min_lr_ratio >= 0.0 && min_lr_ratio <= 1.0, kInvalidArgument,
           "schedule: min_lr_ratio must be in [0, 1], got ", min_lr_ratio);
}

double learning_rate(const LrScheduleConfig& config, std::int64_t step, std::int64_t num_steps,
                     std::int64_t tokens_per_step) {
  config.validate();
  GM_CHECK(step >= 0, kInvalidArgument, "schedule: step must not be negative, got ", step);
  std::int64_t warmup = config.warmup_steps;
  if (warmup == 0 && config.warmup_tokens > 0) {
    GM_CHECK(tokens_per_step > 0, kInvalidArgument,
             "schedule: warm-up in tokens needs the tokens of a step, got ", tokens_per_step);
    warmup = (config.warmup_tokens + tokens_per_step - 1) / tokens_per_step;
  }
  const double warm =
      step < warmup ? static_cast<double>(step + 1) / static_cast<double>(warmup) : 1.0;

  double remaining = 1.0;  // 1 at the peak, 0 at the minimum
  if (config.kind == "wsd") {
    const auto decay_steps = static_cast<std::int64_t>(
        std::llround(config.decay_fraction * static_cast<double>(num_steps)));
    const std::int64_t decay_start = num_steps - decay_steps;
    if (decay_steps > 0 && step > decay_start) {
      const double progress =
          std::min(1.0, static_cast<double>(step - decay_start) / static_cast<double>(decay_steps));
      remaining = config.decay_shape == "linear" ? 1.0 - progress : 1.0 - std::sqrt(progress);
    }
  } else if (config.kind == "cosine" && step > warmup) {
    const double span = static_cast<double>(std::max<std::int64_t>(num_steps - warmup, 1));
    const double progress = std::min(1.0, static_cast<double>(step - warmup) / span);
    remaining = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  }
  // Warm-up and decay may overlap in short runs: the lower of both holds.
  const double decayed = config.min_lr_ratio + (1.0 - config.min_lr_ratio) * remaining;
  return config.lr * std::min(warm, decayed);
}

}  // namespace growmerge
