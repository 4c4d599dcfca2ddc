// AdamW with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, Algorithm 2 with
// schedule multiplier 1):
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr * (mhat / (sqrt(vhat) + eps) + wd *
//   p)
// with mhat = m / (1 - b1^t), vhat = v / (1 - b2^t), as torch.optim.AdamW computes it (p is decayed
// first). Arithmetic and state are float32 (float64 for float64 parameters). Weight decay applies
// to what the table of tensors says (matrices, the embedding; of other names: dim >= 2) unless
// decay_all.
//
// Symbols: p parameter, g gradient, m and v moments, all of one shape; t steps taken.
#pragma once

#include <cstdint>

#include "core/base/config.h"
#include "core/store/param_map.h"

namespace growmerge {

struct AdamWConfig {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.01;
  bool decay_all = false;

  void describe(FieldVisitor& v) {
    v("beta1", beta1, "", "decay of the first moment");
    v("beta2", beta2, "", "decay of the second moment");
    v("eps", eps, "", "added to the root of the second moment");
    v("weight_decay", weight_decay, "1/step/lr", "decoupled weight decay");
    v("decay_all", decay_all, "", "decay vectors (norm gains) too, not matrices alone");
  }
  /// Errors: kInvalidArgument naming the key.
  void validate() const;
};

struct AdamWState {
  ParamMap m;  // same names and shapes as the parameters
  ParamMap v;
  std::int64_t step = 0;  // steps taken
};

[[nodiscard]] AdamWState make_adamw_state(const ParamMap& params);

/// One step in place. `grads` are multiplied by grad_scale (the clip factor) on the way. Where
/// `compute` is not empty, the new parameters are also written there, rounded to its dtype
/// (bfloat16 copies for the next forward pass). All tensors are contiguous and on the CPU; the
/// result does not depend on the number of threads or on the instruction set.
/// Errors: kInvalidArgument (beta, eps, dtype, layout), kNotFound and kMismatch naming the tensor.
void adamw_step_(const ParamMap& params, const ParamMap& grads, AdamWState& state, double lr,
                 double grad_scale, const AdamWConfig& config, const ParamMap& compute);

/// Sum of squares over all gradients, float64, order fixed: the same bits for the same inputs.
[[nodiscard]] double squared_norm(const ParamMap& grads);

}  // namespace growmerge
