// The three products of a linear layer y = x W^T, W [out, in] as Hugging Face stores it.
//
// Products run in the compute dtype with float32 (float64) accumulation inside; weight gradients
// are added to float32 (float64) tensors. Under bfloat16 each weight gradient's product is rounded
// to bfloat16 before that addition: at::mm with an output dtype exists on CUDA alone (LibTorch
// 2.11), and widening both operands would need a float32 copy of each.
#pragma once

#include <ATen/core/Tensor.h>

namespace growmerge::ops {

/// y = x W^T (beta 0), or y += x W^T (beta 1). x [N, in], y [N, out].
void linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& y,
                    double beta = 0.0);
/// dx = beta dx + dy W.
void linear_backward_input(const at::Tensor& dy, const at::Tensor& weight, const at::Tensor& dx,
                           double beta = 0.0);
/// dweight += scale dy^T x. Memory: one product in the dtype of dy where dweight's is another.
void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& dweight,
                            double scale = 1.0);

}  // namespace growmerge::ops
