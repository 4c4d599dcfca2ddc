// The FLOP ledger: what training and inference cost, in the four conventions that are in use.
//
// Symbols: L layers, d hidden, H heads, K KV heads, h head_dim, F ffn, V vocabulary, a = mean
// number of attended keys per query (T in full attention, (T + 1) / 2 causal, sum l(l+1)/2 / sum l
// for packed documents; in layers with a window of W keys the mean of min(W, keys)). One
// multiply-add is 2 FLOPs.
//   F_fwd = L (4 d H h + 4 d K h + 6 d F + 4 H h a) + 2 d V   per token;   F_train = 3 F_fwd
// Norms, softmax, activation, RoPE and the optimizer (1-2 %) are not counted. The input embedding
// costs nothing; the head always counts, tied or not. Source: reference formula of PaLM, appendix
// B, with exact causal attention.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/model/model_config.h"

namespace growmerge {

enum class FlopConvention {
  kCausal,           // 3 F_fwd with exact causal attention: the ledger's own, used for matching
  kFullAttention,    // 3 F_fwd with a = T: nanotron, PaLM
  kSixN,             // 6 N, all parameters (a tied embedding once)
  kSixNNonEmbedding  // 6 N, matrices of the layers alone (no embedding, head or norm gain)
};

[[nodiscard]] const char* flop_convention_name(FlopConvention convention);

/// Forward FLOPs per token with `attended_keys` keys per query on average, those of unbroken rows
/// of 2 attended_keys - 1 tokens: in layers with a window fewer.
[[nodiscard]] double forward_flops_per_token(const ModelConfig& config, double attended_keys);
/// Training FLOPs per token at row length T = row_tokens (unbroken rows).
[[nodiscard]] double train_flops_per_token(const ModelConfig& config, std::int64_t row_tokens,
                                           FlopConvention convention);
/// Mean attended keys of causal attention inside segments: sum l (l + 1) / 2 / sum l.
[[nodiscard]] double mean_attended_keys(std::span<const std::int32_t> segment_starts);

/// Whole steps (at least one) that spend `budget_flops` most nearly in the causal convention, and
/// the relative mismatch that rounding leaves. Errors: kInvalidArgument for a budget that is not
/// positive.
struct MatchedBudget {
  std::int64_t steps = 0;
  double mismatch = 0.0;  // (spent - budget) / budget
};
[[nodiscard]] MatchedBudget match_budget(const ModelConfig& config, double budget_flops,
                                         std::int64_t row_tokens, std::int64_t tokens_per_step);

}  // namespace growmerge
