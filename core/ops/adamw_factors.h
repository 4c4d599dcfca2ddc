// The numbers of an optimizer step on a device, in arrays, so that the host need not wait for them.
// Apart from adamw.h, because kernels see no torch.
#pragma once

#include <cstdint>

namespace growmerge {

/// What the host knows of an optimizer step before it: float64 [kSize] on the device, in this
/// order.
struct AdamWSchedule {
  enum Index : std::int64_t {
    kLearningRate,
    kBiasCorrection1,  // 1 - beta1^t
    kBiasCorrection2,  // 1 - beta2^t
    kClipNorm,         // largest norm of the mean gradient; 0 never clips
    kSize
  };
};

/// What the device makes of it: float64 [kSize], in this order.
struct AdamWFactors {
  enum Index : std::int64_t {
    kIsFinite,            // 1: step; 0: loss or norm is not finite, or there is no target
    kGradScale,           // clip factor / targets
    kStepSize,            // lr / (1 - beta1^t)
    kInvRootCorrection2,  // 1 / sqrt(1 - beta2^t)
    kRate,                // lr
    kNorm,                // of the mean gradient: sqrt(squared norm) / targets
    kSize
  };
};

}  // namespace growmerge
