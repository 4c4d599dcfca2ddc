// The gated MLP's element-wise part (Shazeer 2020, arXiv 2002.05202): out = act(gate) * up, with
// act silu(x) = x sigmoid(x), gelu(x) = x Phi(x) or gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x +
// 0.044715 x^3))). Arithmetic in the type of sums. Tensors contiguous, [N, F], of one dtype
// (legend: kernels/kernels.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "core/model/model_config.h"

namespace growmerge::ops {

void gated_forward(Activation activation, const at::Tensor& gate_NF, const at::Tensor& up_NF,
                   const at::Tensor& out_NF);

/// In place, in one pass, each buffer two tensors: gate and up become their gradients, and dout
/// becomes the forward's output (which the product's weight gradient needs and which is not kept).
void gated_backward_(Activation activation, const at::Tensor& gate_to_dgate_NF,
                     const at::Tensor& up_to_dup_NF, const at::Tensor& dout_to_out_NF);

}  // namespace growmerge::ops
