#include "core/transformer.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/error.h"
#include "core/ops/attention.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/linear.h"
#include "core/transformer_workspace.h"

namespace growmerge {

using transformer::Buffers;
using transformer::ModelParams;

at::Tensor hidden_states(const ModelConfig& config, const ParamMap& params,
                         const at::Tensor& tokens, std::span<const std::int32_t> segment_starts,
                         Workspace* workspace) {
  WorkspaceScope scope(workspace);
  const at::ScalarType dtype = transformer::compute_dtype(params);
  const ModelParams p = transformer::model_params(config, params, dtype, "parameters");
  transformer::check_ids(tokens, config.vocab_size, false, "tokens");
  Buffers& b = scope->buffers(config, tokens.numel(), false, dtype, 0);
  const std::int64_t longest =
      transformer::fill_positions(segment_starts, tokens.numel(), b.positions);
  transformer::forward(config, p, tokens, segment_starts, scope->rope_table(longest, config), b,
                       nullptr);
  return workspace != nullptr ? b.norm.clone() : b.norm;
}

at::Tensor head_logits(const ModelConfig& config, const ParamMap& params,
                       const at::Tensor& hidden_MD) {
  const at::ScalarType dtype = transformer::compute_dtype(params);
  const at::Tensor head =
      params.at(config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  ModelParams p;
  p.head = head;
  const at::Tensor hidden = hidden_MD.contiguous();
  const at::Tensor scaled = at::empty(hidden.sizes(), hidden.options());
  const at::Tensor logits = at::empty({hidden.size(0), head.size(0)}, hidden.options());
  transformer::chunk_logits(config, p, hidden, scaled, logits);
  return logits.to(ops::acc_dtype(dtype));
}

at::Tensor target_log_probs(const ModelConfig& config, const ParamMap& params,
                            const at::Tensor& hidden_MD, const at::Tensor& targets_M,
                            at::Tensor* is_greedy, Workspace* workspace) {
  const std::int64_t rows = hidden_MD.size(0);
  GM_CHECK(targets_M.numel() == rows, kMismatch, "target_log_probs: ", rows, " hidden states but ",
           targets_M.numel(), " targets");
  transformer::check_ids(targets_M, config.vocab_size, true, "targets");
  const at::ScalarType dtype = transformer::compute_dtype(params);
  const at::Tensor out = at::empty({rows}, ops::acc_dtype(dtype));
  at::Tensor greedy;
  if (is_greedy != nullptr) {
    greedy = *is_greedy = at::empty({rows}, at::ScalarType::Bool);
  }
  if (rows == 0) {
    return out;
  }
  const std::int64_t asked =
      workspace != nullptr ? workspace->impl().head_chunk_rows : std::int64_t{0};
  const std::int64_t chunk =
      asked > 0 ? asked : transformer::automatic_chunk_rows(config, rows, dtype);
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t n = std::min(chunk, rows - begin);
    const at::Tensor logits = head_logits(config, params, hidden_MD.narrow(0, begin, n));
    ops::log_probs(logits, targets_M.narrow(0, begin, n), out.narrow(0, begin, n),
                   greedy.defined() ? greedy.narrow(0, begin, n) : at::Tensor());
  }
  return out;
}

struct Decoder::Impl {
  ModelConfig config;
  ModelParams params;
  at::ScalarType dtype;
  std::int64_t max_tokens;
  ops::RopeTable rope;
  transformer::KeyValueCache cache;
  Workspace workspace;
};

Decoder::Decoder(const ModelConfig& config, const ParamMap& params, std::int64_t max_tokens)
    : impl_(std::make_unique<Impl>()) {
  GM_CHECK(max_tokens > 0, kInvalidArgument, "decoder: max_tokens is ", max_tokens,
           ", must be positive");
  impl_->config = config;
  impl_->dtype = transformer::compute_dtype(params);
  impl_->params = transformer::model_params(config, params, impl_->dtype, "parameters");
  impl_->max_tokens = max_tokens;
  impl_->rope = ops::make_rope_table(config, max_tokens);
  for (std::int64_t l = 0; l < config.num_layers; ++l) {
    const std::int64_t width = config.num_kv_heads * config.head_dim;
    impl_->cache.keys.push_back(at::empty({max_tokens, width}, impl_->dtype));
    impl_->cache.values.push_back(at::empty({max_tokens, width}, impl_->dtype));
  }
}

Decoder::~Decoder() = default;

at::Tensor Decoder::feed(std::span<const std::int32_t> tokens) {
  Impl& d = *impl_;
  const auto n = static_cast<std::int64_t>(tokens.size());
  GM_CHECK(n > 0, kInvalidArgument, "decoder: no tokens to feed");
  GM_CHECK(d.cache.length + n <= d.max_tokens, kInvalidArgument, "decoder: ", d.cache.length,
           " tokens were fed and ", n, " more exceed its ", d.max_tokens,
           "; make it with a larger max_tokens or reset() it");
  const at::Tensor ids = at::empty({n}, at::ScalarType::Long);
  std::copy(tokens.begin(), tokens.end(), ops::data<std::int64_t>(ids));
  transformer::check_ids(ids, d.config.vocab_size, false, "tokens");
  Buffers& b = d.workspace.impl().buffers(d.config, n, false, d.dtype, 0);
  for (std::int64_t i = 0; i < n; ++i) {
    ops::data<std::int32_t>(b.positions)[i] = static_cast<std::int32_t>(d.cache.length + i);
  }
  transformer::forward(d.config, d.params, ids, {}, d.rope, b, &d.cache);
  const at::Tensor last = b.norm.narrow(0, n - 1, 1);
  const at::Tensor logits = at::empty({1, d.config.vocab_size}, d.dtype);
  transformer::chunk_logits(d.config, d.params, last, at::empty(last.sizes(), last.options()),
                            logits);
  return logits.select(0, 0).to(at::ScalarType::Float);
}

void Decoder::reset() { impl_->cache.length = 0; }

std::int64_t activation_bytes(const ModelConfig& config, std::int64_t num_positions,
                              at::ScalarType dtype) {
  const transformer::BufferShape shape{
      num_positions, transformer::automatic_chunk_rows(config, num_positions, dtype), true, dtype};
  const std::int64_t segment = std::min(num_positions, config.max_position_embeddings);
  return transformer::buffer_bytes(config, shape) + segment * config.head_dim * 4 +
         ops::attention_scratch_bytes(segment, config.head_dim, at::get_num_threads(), dtype);
}

}  // namespace growmerge
