// Softmax cross-entropy of a chunk of positions, one tile of the vocabulary at a time.
//
// nll_i = log sum_v exp(l_iv) - l_i,target. A tile of logits is turned into exponentials while it
// is still in cache, relative to its own maximum: P~_iv = exp(l_iv - max_ji), tile j. When all
// tiles are there, factor_ji = exp(max_ji - log sum_v exp(l_iv)) makes them probabilities, so
// logits are read and written once. Whoever multiplies by P~ scales rows of the other factor or of
// the result instead. In the gradient d nll_i / d l_iv = factor_ji P~_iv - [v = target_i] the two
// parts cancel at the target as p comes near 1: p - 1 is formed there before anything is rounded to
// the logits' type (subtract_targets_), where apart each would be off by 2^-9 of 1.
//
// Symbols: C positions, V vocabulary, J tiles of it of T columns, D elements of a hidden state
// (legend: kernels/kernels.h).
//
// Exponentials in float32 within 2 ulp (float64: exact; those that are rounded to bfloat16: within
// 3e-6 before), sums in float64 by blocks. Rows are independent: threads change nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace growmerge::ops {

/// Columns [first, first + T) of the vocabulary: logits [C, T] become P~ in place; max and sum (of
/// P~), [C] in the type of sums, are the row's over this tile. Where targets (int64 [C]) lie in the
/// tile, at_target [C] takes their logits.
void softmax_tile_(const at::Tensor& logits_to_exps_CT, std::int64_t first,
                   const at::Tensor& targets_C, const at::Tensor& max_C, const at::Tensor& sum_C,
                   const at::Tensor& at_target_C);

/// Puts J tiles together: nll [C], and max [J, C] becomes factor in place. Batch::kIgnoredTarget
/// rows get 0 in both.
void combine_tiles_(const at::Tensor& max_to_factor_JC, const at::Tensor& sum_JC,
                    const at::Tensor& at_target_C, const at::Tensor& targets_C,
                    const at::Tensor& nll_C);

/// Makes a tile's exponentials gradients, to be multiplied by factor: where target_i lies in it,
/// its element becomes (p_i - 1) slope_i / factor_i with p_i = exp(-nll_i). slope (of a cap, at the
/// target) is 1 where undefined. In a row whose tile lies e^60 below the others, where that
/// quotient could overflow, that element stays alone, with factor 1: all others together are below
/// e^-60. nll, slope, factor [C] in the type of sums. Ignored rows stay as they are.
void subtract_targets_(const at::Tensor& exps_to_grads_CT, std::int64_t first,
                       const at::Tensor& targets_C, const at::Tensor& nll_C,
                       const at::Tensor& slope_C, const at::Tensor& factor_C);

/// log p(target) [C] in the type of sums, and (when defined) greedy bool [C]: whether the target is
/// the first arg max. Ignored targets give 0 and false. logits are only read.
void log_probs(const at::Tensor& logits_CV, const at::Tensor& targets_C,
               const at::Tensor& log_prob_C, const at::Tensor& greedy_C);

/// y_i = scale_i * x_i for rows of x [C, D]; scale in the type of sums; y may be x.
void scale_rows(const at::Tensor& x_CD, const at::Tensor& scale_C, const at::Tensor& y_CD);
/// sum_i += scale_i * x_i; scale and sum in the type of sums.
void add_scaled_rows(const at::Tensor& x_CD, const at::Tensor& scale_C, const at::Tensor& sum_CD);

}  // namespace growmerge::ops
