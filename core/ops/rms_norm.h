// RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467): y = g x r, r = 1 / sqrt(mean(x^2) + eps) over
// the last axis, with g = gain + offset. Statistics and arithmetic in the type of sums; y is
// rounded once.
//
// Symbols: N rows, D elements a row (legend: kernels/kernels.h). x, y, dx: compute dtype [N, D];
// rstd = r: float32 (float64 for float64) [N]. Tensors are contiguous. Deterministic for a given
// number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace growmerge::ops {

/// g = values [D] + offset: Gemma keeps what is added to 1.
struct Gain {
  // Implicit: a tensor alone is a gain without an offset.
  Gain(at::Tensor values, double added = 0.0) : values_D(std::move(values)), offset(added) {}

  at::Tensor values_D;
  double offset;
};

/// The residual addition and the norm after it in one pass: sum = x + delta, y = norm(sum). `sum`
/// may be x. An undefined `delta` means sum = x, and `sum` is not touched.
void add_rms_norm(const at::Tensor& x_ND, const at::Tensor& delta_ND, const Gain& gain, double eps,
                  const at::Tensor& sum_ND, const at::Tensor& y_ND, const at::Tensor& rstd_N);

/// y again from x and r.
void apply_rms_norm(const at::Tensor& x_ND, const Gain& gain, const at::Tensor& rstd_N,
                    const at::Tensor& y_ND);

/// dx += dL/dx and dgain += dL/dg (float32 or float64) for dy = dL/dy.
void rms_norm_backward(const at::Tensor& dy_ND, const at::Tensor& x_ND, const Gain& gain,
                       const at::Tensor& rstd_N, const at::Tensor& dx_ND,
                       const at::Tensor& dgain_D);

}  // namespace growmerge::ops
