// Losses of positions, summed by row of the batch: N = R row_tokens positions (legend:
// kernels/kernels.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace growmerge::ops {

/// Positions are R rows of row_tokens each: loss_sum [R] (float64) becomes the sum of nll over a
/// row's positions, num_targets [R] (int64) their number; positions whose target is
/// Batch::kIgnoredTarget count in neither. nll [N] in the type of sums, targets int64 [N]. On the
/// CPU the sum runs in ascending order of positions, on CUDA in an order that is fixed, too.
void row_losses(const at::Tensor& nll_N, const at::Tensor& targets_N, std::int64_t row_tokens,
                const at::Tensor& loss_sum_R, const at::Tensor& num_targets_R);

}  // namespace growmerge::ops
