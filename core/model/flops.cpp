#include "core/model/flops.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/model/tensor_table.h"

namespace growmerge {
namespace {

// Elements of all matrices of the layers: what every token is multiplied with, head apart.
double layer_matrix_elements(const ModelConfig& config) {
  double elements = 0.0;
  for (const TensorSpec& tensor : model_tensors(config)) {
    const TensorRow& row = *tensor.place.row;
    if (row.is_in_layer() && row.kind == TensorKind::kMatrix) {
      elements += static_cast<double>(tensor.num_elements());
    }
  }
  return elements;
}

/// Keys that a query sees in a layer with this window (0: none), on average over a row of that many
/// tokens.
double causal_keys(double row_tokens, std::int64_t window) {
  const double most = window == 0 ? row_tokens : std::min(row_tokens, static_cast<double>(window));
  return (0.5 * most * (most + 1.0) + (row_tokens - most) * most) / row_tokens;
}

/// `keys_of(window)`: keys that a query sees in a layer with this window.
template <class Fn>
double forward_flops(const ModelConfig& config, Fn&& keys_of) {
  double keys = 0.0;  // of all layers
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    keys += keys_of(config.window_of(layer));
  }
  // Scores and their sum of values: two products of 2 h each, for every key and every head.
  const double attention = 4.0 * static_cast<double>(config.num_heads * config.head_dim) * keys;
  const double head =
      2.0 * static_cast<double>(config.hidden_size) * static_cast<double>(config.vocab_size);
  return 2.0 * layer_matrix_elements(config) + attention + head;
}

}  // namespace

const char* flop_convention_name(FlopConvention convention) {
  switch (convention) {
    case FlopConvention::kCausal:
      return "causal";
    case FlopConvention::kFullAttention:
      return "full_attention";
    case FlopConvention::kSixN:
      return "six_n";
    case FlopConvention::kSixNNonEmbedding:
      return "six_n_non_embedding";
  }
  GM_ASSERT(false);
}

double forward_flops_per_token(const ModelConfig& config, double attended_keys) {
  return forward_flops(config, [&](std::int64_t window) {
    return window == 0 ? attended_keys
                       : causal_keys(std::max(1.0, 2.0 * attended_keys - 1.0), window);
  });
}

double train_flops_per_token(const ModelConfig& config, std::int64_t row_tokens,
                             FlopConvention convention) {
  GM_CHECK(row_tokens > 0, kInvalidArgument, "flops: row_tokens must be positive, got ",
           row_tokens);
  switch (convention) {
    // Backward is two products for each one of forward: hence 3.
    case FlopConvention::kCausal:
      return 3.0 * forward_flops_per_token(config, 0.5 * static_cast<double>(row_tokens + 1));
    case FlopConvention::kFullAttention:
      return 3.0 * forward_flops(config, [&](std::int64_t window) {
               return static_cast<double>(window == 0 ? row_tokens : std::min(row_tokens, window));
             });
    // Kaplan et al. 2020 (arXiv 2001.08361) and the many who count like them.
    case FlopConvention::kSixN:
      return 6.0 * static_cast<double>(num_parameters(config));
    case FlopConvention::kSixNNonEmbedding:
      return 6.0 * layer_matrix_elements(config);
  }
  GM_ASSERT(false);
}

double mean_attended_keys(std::span<const std::int32_t> segment_starts) {
  double pairs = 0.0;
  double positions = 0.0;
  for (std::size_t i = 1; i < segment_starts.size(); ++i) {
    const double length = static_cast<double>(segment_starts[i] - segment_starts[i - 1]);
    // Position i of a segment attends to itself and the i before it.
    pairs += 0.5 * length * (length + 1.0);
    positions += length;
  }
  return positions > 0.0 ? pairs / positions : 0.0;
}

MatchedBudget match_budget(const ModelConfig& config, double budget_flops, std::int64_t row_tokens,
                           std::int64_t tokens_per_step) {
  GM_CHECK(budget_flops > 0.0 && std::isfinite(budget_flops), kInvalidArgument,
           "flops: a budget must be positive and finite, got ", budget_flops);
  GM_CHECK(tokens_per_step > 0, kInvalidArgument, "flops: tokens_per_step must be positive, got ",
           tokens_per_step);
  const double per_step = static_cast<double>(tokens_per_step) *
                          train_flops_per_token(config, row_tokens, FlopConvention::kCausal);
  MatchedBudget out;
  // To the nearest: rounding down always would favour the smaller of two models that are matched.
  out.steps = std::max<std::int64_t>(1, std::llround(budget_flops / per_step));
  out.mismatch = (static_cast<double>(out.steps) * per_step - budget_flops) / budget_flops;
  return out;
}

}  // namespace growmerge
