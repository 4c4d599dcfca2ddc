// Softmax cross-entropy of a chunk of logits, whose gradient is made in their place.
//
// nll_i = log sum_j exp(l_ij) - l_i,target. The gradient is left in factors, so that logits are
// read and written once: logits become P~ = exp(l - max) with P~_target -= sum, and inverse_i = 1 /
// sum; d nll_i / d logits = inverse_i * row. Whoever multiplies by this matrix scales rows of the
// other factor or of the result instead.
//
// Exponentials in float32 within 2 ulp (float64: exact), sums in float64 by blocks. Rows are
// independent: threads change nothing.
#pragma once

#include <ATen/core/Tensor.h>

namespace growmerge::ops {

/// logits [C, V] in place; targets int64 [C], Batch::kIgnoredTarget rows become zero with nll 0.
/// nll and inverse: [C] in the type of sums.
void cross_entropy_(const at::Tensor& logits_CV, const at::Tensor& targets_C,
                    const at::Tensor& nll_C, const at::Tensor& inverse_C);

/// log p(target) [C] in the type of sums, and (when defined) greedy bool [C]: whether the target is
/// the first arg max. Ignored targets give 0 and false. logits are only read.
void log_probs(const at::Tensor& logits_CV, const at::Tensor& targets_C,
               const at::Tensor& log_prob_C, const at::Tensor& greedy_C);

/// y_i = scale_i * x_i for rows of x [C, d]; scale in the type of sums; y may be x.
void scale_rows(const at::Tensor& x_CD, const at::Tensor& scale_C, const at::Tensor& y_CD);

}  // namespace growmerge::ops
