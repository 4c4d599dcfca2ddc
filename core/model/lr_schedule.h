// The learning rate as a pure function of the step.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/config.h"

namespace growmerge {

/// wsd: linear warm-up to `lr`, constant, then decay over the last decay_fraction of the steps to
/// min_lr_ratio * lr (decay_shape linear or sqrt: 1 - sqrt(progress)). cosine: warm-up, then half a
/// cosine to min_lr_ratio * lr. constant: warm-up, then lr.
struct LrScheduleConfig {
  std::string kind = "wsd";
  double lr = 3e-4;
  std::int64_t warmup_steps = 0;
  std::int64_t warmup_tokens = 0;  // used where warmup_steps is 0
  double decay_fraction = 0.2;
  std::string decay_shape = "linear";
  double min_lr_ratio = 0.0;

  void describe(FieldVisitor& v) {
    v("kind", kind, "", "wsd, cosine or constant");
    v("lr", lr, "", "peak learning rate");
    v("warmup_steps", warmup_steps, "steps", "linear warm-up");
    v("warmup_tokens", warmup_tokens, "tokens",
      "linear warm-up given in tokens; used where warmup_steps is 0");
    v("decay_fraction", decay_fraction, "", "wsd: share of the steps, at the end, that decay");
    v("decay_shape", decay_shape, "", "wsd: linear or sqrt");
    v("min_lr_ratio", min_lr_ratio, "", "final learning rate as a share of lr");
  }
  /// Errors: kInvalidArgument.
  void validate() const;
};

/// Learning rate of step `step` (0-based) of `num_steps`. The first warm-up step has lr /
/// warmup_steps, not 0. The first decaying step still has the peak and the minimum would be that of
/// step num_steps, so that no step is spent at a learning rate of 0. Where warm-up and decay
/// overlap the lower of the two counts. Errors: kInvalidArgument.
[[nodiscard]] double learning_rate(const LrScheduleConfig& config, std::int64_t step,
                                   std::int64_t num_steps, std::int64_t tokens_per_step);

}  // namespace growmerge
