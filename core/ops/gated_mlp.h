// The gated MLP's element-wise part (Shazeer 2020, arXiv 2002.05202): out = act(gate) * up, with
// act silu(x) = x sigmoid(x), gelu(x) = x Phi(x) or gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x +
// 0.044715 x^3))). Arithmetic in the type of sums. Tensors contiguous, of one shape and dtype.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/model/model_config.h"

namespace growmerge::ops {

void gated_forward(Activation activation, const at::Tensor& gate, const at::Tensor& up,
                   const at::Tensor& out);

/// In place, in one pass: gate and up become their gradients, and dout becomes the forward's output
/// (which the product's weight gradient needs and which is not kept).
void gated_backward_(Activation activation, const at::Tensor& gate, const at::Tensor& up,
                     const at::Tensor& dout);

}  // namespace growmerge::ops
