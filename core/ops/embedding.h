// Token embedding: a gather of rows, and its gradient: rows summed by token.
//
// Shapes: tokens [N], table [V, D], x [N, D] (legend: kernels/kernels.h).
#pragma once

#include <ATen/core/Tensor.h>

namespace growmerge::ops {

/// x_i = table[tokens_i]; tokens are int64.
void embedding_forward(const at::Tensor& tokens_N, const at::Tensor& table_VD,
                       const at::Tensor& x_ND);

/// dtable[t] += sum of dx_i over positions i with token t, in ascending order of i; dtable is in
/// the type of sums. Negative tokens (ignored targets) are left out. Positions are sorted by token
/// and tokens are shared among threads, so the result does not depend on threads.
void embedding_backward(const at::Tensor& tokens_N, const at::Tensor& dx_ND,
                        const at::Tensor& dtable_VD);

}  // namespace growmerge::ops
