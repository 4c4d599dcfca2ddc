#include "core/transformer/attention_block.h"

#include "core/base/error.h"
#include "core/model/families.h"
#include "core/ops/dispatch.h"
#include "core/ops/linear.h"
#include "core/ops/rms_norm.h"

namespace growmerge::transformer {
namespace {

using enum Role;

ops::AttentionShape shape_of(const ModelConfig& c, std::int64_t layer) {
  return {.num_heads = c.num_heads,
          .num_kv_heads = c.num_kv_heads,
          .head_dim = c.head_dim,
          .scale = c.attention_scale(),
          .soft_cap = c.attn_logit_softcapping.value_or(0.0),
          .window = c.window_of(layer)};
}

/// The norm of queries or of keys, and the shape of its rows. Undefined where there is none.
struct HeadNorm {
  ops::Gain gain;
  bool by_head = false;
  std::int64_t head_dim = 0;

  [[nodiscard]] at::Tensor rows(const at::Tensor& x_NHh) const {
    return by_head ? x_NHh.view({-1, head_dim}) : x_NHh;
  }
};

HeadNorm head_norm(const ModelConfig& c, const RoleTensors& p, Role of_head, Role of_width) {
  const bool by_head = p[of_head].defined();
  return {{by_head ? p[of_head] : p[of_width], family_of(c).gain_offset}, by_head, c.head_dim};
}

HeadNorm query_norm(const ModelConfig& c, const RoleTensors& p) {
  return head_norm(c, p, kQueryNorm, kQueryWidthNorm);
}

HeadNorm key_norm(const ModelConfig& c, const RoleTensors& p) {
  return head_norm(c, p, kKeyNorm, kKeyWidthNorm);
}

void apply(const ModelConfig& c, const HeadNorm& norm, const at::Tensor& raw, const at::Tensor& y,
           const at::Tensor& rstd) {
  ops::add_rms_norm(norm.rows(raw), at::Tensor(), norm.gain, c.rms_norm_eps, at::Tensor(),
                    norm.rows(y), rstd);
}

/// dy, the gradient of the norm's output, or that of its input in `scratch`; adds to dgain.
at::Tensor through(const HeadNorm& norm, const at::Tensor& dy, const at::Tensor& raw,
                   const at::Tensor& rstd, const at::Tensor& dgain, const at::Tensor& scratch) {
  if (!norm.gain.values_D.defined()) {
    return dy;
  }
  const at::Tensor dx = scratch.view({-1}).narrow(0, 0, dy.numel()).view(dy.sizes());
  dx.zero_();  // the operator adds
  ops::rms_norm_backward(norm.rows(dy), norm.rows(raw), norm.gain, rstd, norm.rows(dx), dgain);
  return dx;
}

/// a.q, a.k, a.v to a.attention.
void attend(const ModelConfig& c, const Inputs& inputs, std::int64_t layer, KeyValueCache* cache,
            const LayerBuffers& a) {
  if (cache == nullptr) {
    ops::attention_forward(shape_of(c, layer), inputs.segments, a.q, a.k, a.v, a.attention, a.lse,
                           inputs.prefixes);
    return;
  }
  const auto l = static_cast<std::size_t>(layer);
  const std::int64_t rows = a.k.size(0);
  cache->keys[l].narrow(0, cache->length, rows).copy_(a.k);
  cache->values[l].narrow(0, cache->length, rows).copy_(a.v);
  // cache->length itself moves on when the last layer is through: all layers see the same one.
  ops::attention_cached(shape_of(c, layer), cache->length + rows, a.q, cache->keys[l],
                        cache->values[l], a.attention);
}

}  // namespace

const ops::RopeTable* Ropes::of(const ModelConfig& config, std::int64_t layer) const {
  if (!config.uses_rope(layer)) {
    return nullptr;
  }
  return config.uses_local_rope(layer) ? &local : &global;
}

Ropes make_ropes(const ModelConfig& config, std::int64_t num_positions) {
  GM_CHECK(
      config.rope.type != RopeType::kDynamic || num_positions <= config.max_position_embeddings,
      kUnsupported, "RoPE of type dynamic is computed inside the context of ",
      config.max_position_embeddings, " tokens (max_position_embeddings), not for ", num_positions,
      " positions: use shorter texts");
  Ropes ropes;
  ropes.global = ops::make_rope_table(config.rope, config.rotary_dim(), num_positions);
  if (family_of(config).has_local_rope) {
    ropes.local = ops::make_rope_table(config.local_rope, config.rotary_dim(), num_positions);
  }
  return ropes;
}

void attention_forward(const ModelConfig& c, const RoleTensors& p, const Inputs& inputs,
                       const Ropes& ropes, std::int64_t layer, KeyValueCache* cache,
                       const at::Tensor& x_ND, const at::Tensor& out_ND, LayerBuffers& a) {
  const HeadNorm of_queries = query_norm(c, p);
  const bool has_norms = of_queries.gain.values_D.defined();
  ops::linear_forward_with_bias(x_ND, p[kQuery], p[kQueryBias], has_norms ? a.q_raw : a.q);
  ops::linear_forward_with_bias(x_ND, p[kKey], p[kKeyBias], has_norms ? a.k_raw : a.k);
  ops::linear_forward_with_bias(x_ND, p[kValue], p[kValueBias], a.v);
  if (has_norms) {
    apply(c, of_queries, a.q_raw, a.q, a.rstd_q);
    apply(c, key_norm(c, p), a.k_raw, a.k, a.rstd_k);
  }
  if (const ops::RopeTable* rope = ropes.of(c, layer)) {
    // In place: what is kept for backward, and cached, is what attention reads.
    ops::rope_(a.q, c.head_dim, *rope, inputs.positions, false);
    ops::rope_(a.k, c.head_dim, *rope, inputs.positions, false);
  }
  attend(c, inputs, layer, cache, a);
  ops::linear_forward_with_bias(a.attention, p[kAttentionOutput], p[kAttentionOutputBias], out_ND);
}

void attention_backward(const ModelConfig& c, const RoleTensors& p, const RoleTensors& g,
                        const Inputs& inputs, const Ropes& ropes, std::int64_t layer,
                        const at::Tensor& x_ND, const at::Tensor& dout_ND, LayerBuffers& a,
                        Buffers& b) {
  const profile::Scope scope("attention backward");
  ops::linear_backward_input(dout_ND, p[kAttentionOutput], b.dattention);
  ops::linear_backward_weight(dout_ND, a.attention, g[kAttentionOutput]);
  ops::linear_backward_bias(dout_ND, g[kAttentionOutputBias]);
  // A task has read its rows of q, k and v before it writes their gradients there.
  ops::attention_backward(shape_of(c, layer), inputs.segments, a.q, a.k, a.v, a.attention, a.lse,
                          b.dattention, a.q, a.k, a.v);
  if (const ops::RopeTable* rope = ropes.of(c, layer)) {
    // A rotation's transpose is the rotation back.
    ops::rope_(a.q, c.head_dim, *rope, inputs.positions, true);
    ops::rope_(a.k, c.head_dim, *rope, inputs.positions, true);
  }
  // Three shares of the gradient of the block's input: the first one sets, the others add.
  ops::linear_backward_weight(a.v, x_ND, g[kValue]);
  ops::linear_backward_bias(a.v, g[kValueBias]);
  ops::linear_backward_input(a.v, p[kValue], b.delta);
  // b.dattention has been read, and takes what flows through a norm: keys first, queries after
  // them.
  const at::Tensor dk =
      through(key_norm(c, p), a.k, a.k_raw, a.rstd_k, key_norm(c, g).gain.values_D, b.dattention);
  ops::linear_backward_weight(dk, x_ND, g[kKey]);
  ops::linear_backward_bias(dk, g[kKeyBias]);
  ops::linear_backward_input(dk, p[kKey], b.delta, 1.0);
  const at::Tensor dq = through(query_norm(c, p), a.q, a.q_raw, a.rstd_q,
                                query_norm(c, g).gain.values_D, b.dattention);
  ops::linear_backward_weight(dq, x_ND, g[kQuery]);
  ops::linear_backward_bias(dq, g[kQueryBias]);
  ops::linear_backward_input(dq, p[kQuery], b.delta, 1.0);
}

}  // namespace growmerge::transformer
