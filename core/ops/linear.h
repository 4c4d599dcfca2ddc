// The three products of a linear layer y = x W^T, W [out, in] as Hugging Face stores it.
//
// Shapes: x, dx, spare [N, I]; W, dW [O, I]; y, dy [N, O]; row_scale [N] (legend:
// kernels/kernels.h).
//
// Products run in the compute dtype with float32 (float64) sums; weight gradients are added to
// float32 (float64) tensors. They are our own (kernels/gemm_kernel.cpp) where those are faster than
// LibTorch's library (kernel_set.h: prefers_own_products): then a result's bits depend neither on
// the number of threads nor, from 16 rows on, on how many rows are made together, and a weight
// gradient of bfloat16 is added in float32 without being rounded. Elsewhere it is rounded to
// bfloat16 before that addition: at::mm with an output dtype exists on CUDA alone (LibTorch 2.11),
// and widening both operands would need a float32 copy of each.
#pragma once

#include <ATen/core/Tensor.h>

namespace growmerge::ops {

/// y = x W^T (beta 0), or y += x W^T (beta 1).
void linear_forward(const at::Tensor& x_NI, const at::Tensor& weight_OI, const at::Tensor& y_NO,
                    double beta = 0.0);
/// y = x W^T + bias, rounded once: the bias [out] stands in y before the product is added. Without
/// one (an undefined tensor), y = x W^T.
void linear_forward_with_bias(const at::Tensor& x_NI, const at::Tensor& weight_OI,
                              const at::Tensor& bias_O, const at::Tensor& y_NO);
/// dbias += the sum of dy's rows, in the type of sums. Nothing where dbias [out] is undefined.
void linear_backward_bias(const at::Tensor& dy_NO, const at::Tensor& dbias_O);
/// dx = beta dx + dy W.
void linear_backward_input(const at::Tensor& dy_NO, const at::Tensor& weight_OI,
                           const at::Tensor& dx_NI, double beta = 0.0);
/// dx += diag(row_scale) dy W with dx and row_scale in the type of sums. `spare`, scratch in the
/// dtype of dy, is overwritten where the library makes the product.
void linear_backward_input_scaled(const at::Tensor& dy_NO, const at::Tensor& weight_OI,
                                  const at::Tensor& row_scale_N, const at::Tensor& dx_NI,
                                  const at::Tensor& spare_NI);
/// dweight += dy^T x. Memory: where the library makes the product and dweight's dtype is another
/// than dy's, one product in the dtype of dy.
void linear_backward_weight(const at::Tensor& dy_NO, const at::Tensor& x_NI,
                            const at::Tensor& dweight_OI);
/// dweight += dy^T x', x' being diag(row_scale) x rounded to the dtype of x. `spare`, scratch like
/// x, takes x' where the library makes the product.
void linear_backward_weight_scaled(const at::Tensor& dy_NO, const at::Tensor& x_NI,
                                   const at::Tensor& row_scale_N, const at::Tensor& dweight_OI,
                                   const at::Tensor& spare_NI);

}  // namespace growmerge::ops
