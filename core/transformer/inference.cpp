#include "core/transformer/transformer.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/rope.h"
#include "core/transformer/forward.h"
#include "core/transformer/head.h"
#include "core/transformer/workspace.h"

namespace growmerge {

using transformer::Buffers;
using transformer::ModelParams;

namespace {

const at::Tensor& head_of(const ModelConfig& config, const ParamMap& params) {
  return params.at(head_tensor_name(config));
}

}  // namespace

at::Tensor hidden_states(const ModelConfig& config, const ParamMap& params,
                         const at::Tensor& tokens, std::span<const std::int32_t> segment_starts,
                         Workspace* workspace, const ops::Prefixes* prefixes) {
  return transformer::run_layers(config, params, tokens, segment_starts, workspace, prefixes, {});
}

at::Tensor transformer::run_layers(const ModelConfig& config, const ParamMap& params,
                                   const at::Tensor& tokens,
                                   std::span<const std::int32_t> segment_starts,
                                   Workspace* workspace, const ops::Prefixes* prefixes,
                                   const std::function<void(std::int64_t layer)>& before_layer) {
  transformer::require_cpu(params, "hidden_states");
  WorkspaceScope scope(workspace);
  const at::ScalarType dtype = transformer::compute_dtype(params);
  const ModelParams p = transformer::model_params(config, params, dtype, at::kCPU, "parameters");
  transformer::check_ids(tokens, config.vocab_size, false, "tokens");
  Buffers& b = scope->buffers(config, {.num_positions = tokens.numel(), .dtype = dtype}, 0);
  const std::int64_t longest =
      transformer::fill_positions(config, segment_starts, tokens.numel(), b.positions, prefixes);
  transformer::Inputs inputs;
  inputs.tokens = tokens;
  inputs.positions = b.positions;
  inputs.segments.starts = segment_starts;
  inputs.prefixes = prefixes;
  inputs.before_layer = before_layer;
  transformer::forward(config, p, inputs, scope->ropes_for(longest, config, at::kCPU), b, nullptr);
  return workspace != nullptr ? b.norm.clone() : b.norm;
}

at::Tensor head_logits(const ModelConfig& config, const ParamMap& params,
                       const at::Tensor& hidden_MD) {
  transformer::require_cpu(params, "head_logits");
  const at::ScalarType dtype = transformer::compute_dtype(params);
  const at::Tensor head = head_of(config, params);
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
  transformer::require_cpu(params, "target_log_probs");
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
  WorkspaceScope scope(workspace);
  const Buffers& b = scope->buffers(config, {.num_positions = 1, .dtype = dtype}, rows);
  const std::int64_t chunk = b.logits.size(0);
  ModelParams p;
  p.head = head_of(config, params);
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t n = std::min(chunk, rows - begin);
    const at::Tensor chunk_CV = b.logits.narrow(0, 0, n);
    transformer::chunk_logits(config, p, hidden_MD.narrow(0, begin, n).contiguous(),
                              b.scaled.narrow(0, 0, n), chunk_CV);
    const at::Tensor logits = chunk_CV.to(ops::acc_dtype(dtype));
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
  transformer::Ropes ropes;
  transformer::KeyValueCache cache;
  Workspace workspace;
};

Decoder::Decoder(const ModelConfig& config, const ParamMap& params, std::int64_t max_tokens)
    : impl_(std::make_unique<Impl>()) {
  GM_CHECK(max_tokens > 0, kInvalidArgument, "decoder: max_tokens is ", max_tokens,
           ", must be positive");
  transformer::require_cpu(params, "decoder");
  impl_->config = config;
  impl_->dtype = transformer::compute_dtype(params);
  impl_->params = transformer::model_params(config, params, impl_->dtype, at::kCPU, "parameters");
  impl_->max_tokens = max_tokens;
  impl_->ropes = transformer::make_ropes(config, max_tokens);
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
  Buffers& b = d.workspace.impl().buffers(d.config, {.num_positions = n, .dtype = d.dtype}, 0);
  const std::int64_t first = d.cache.length + ops::rope_offset(d.config.rope, d.cache.length + n);
  for (std::int64_t i = 0; i < n; ++i) {
    ops::data<std::int32_t>(b.positions)[i] = static_cast<std::int32_t>(first + i);
  }
  transformer::forward(d.config, d.params, {.tokens = ids, .positions = b.positions}, d.ropes, b,
                       &d.cache);
  const at::Tensor last = b.norm.narrow(0, n - 1, 1);
  const at::Tensor logits = at::empty({1, d.config.vocab_size}, d.dtype);
  transformer::chunk_logits(d.config, d.params, last, at::empty(last.sizes(), last.options()),
                            logits);
  return logits.select(0, 0).to(at::ScalarType::Float);
}

void Decoder::reset() { impl_->cache.length = 0; }

}  // namespace growmerge
