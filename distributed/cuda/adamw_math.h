// One element of AdamW, compiled for host and device from the same text.
#pragma once

#include "distributed/cuda/adamw.h"

#ifdef __CUDACC__
#define GM_HOST_DEVICE __host__ __device__ __forceinline__
#else
#include <cmath>
#define GM_HOST_DEVICE inline
#endif

namespace growmerge::distributed {

/// Updates m[i] and v[i]; returns the new parameter.
GM_HOST_DEVICE float adamw_element(const AdamWStep& s, float param, float grad, float& m,
                                   float& v) {
  const float g = grad * s.grad_scale;
  m = s.beta1 * m + (1.0F - s.beta1) * g;
  v = s.beta2 * v + (1.0F - s.beta2) * g * g;
  const float root = sqrtf(v / s.bias_correction2) + s.eps;
  return param - s.lr * s.weight_decay * param - s.lr * (m / s.bias_correction1) / root;
}

}  // namespace growmerge::distributed
