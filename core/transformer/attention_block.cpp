#include "core/transformer/attention_block.h"

#include "core/ops/dispatch.h"
#include "core/ops/linear.h"
#include "core/ops/rms_norm.h"

namespace growmerge::transformer {
namespace {

using enum Role;

ops::AttentionShape shape_of(const ModelConfig& c) {
  return {c.num_heads, c.num_kv_heads, c.head_dim};
}

/// a.q, a.k, a.v to a.attention.
void attend(const ModelConfig& c, const Inputs& inputs, std::int64_t layer, KeyValueCache* cache,
            const LayerBuffers& a) {
  if (cache == nullptr) {
    ops::attention_forward(shape_of(c), inputs.segments, a.q, a.k, a.v, a.attention, a.lse,
                           inputs.prefixes);
    return;
  }
  const auto l = static_cast<std::size_t>(layer);
  const std::int64_t rows = a.k.size(0);
  cache->keys[l].narrow(0, cache->length, rows).copy_(a.k);
  cache->values[l].narrow(0, cache->length, rows).copy_(a.v);
  // cache->length itself moves on when the last layer is through: all layers see the same one.
  ops::attention_cached(shape_of(c), cache->length + rows, a.q, cache->keys[l], cache->values[l],
                        a.attention);
}

}  // namespace

void attention_forward(const ModelConfig& c, const RoleTensors& p, const Inputs& inputs,
                       const ops::RopeTable& rope, std::int64_t layer, KeyValueCache* cache,
                       LayerBuffers& a, Buffers& b) {
  ops::linear_forward_with_bias(b.norm, p[kQuery], p[kQueryBias], a.q);
  ops::linear_forward_with_bias(b.norm, p[kKey], p[kKeyBias], a.k);
  ops::linear_forward_with_bias(b.norm, p[kValue], p[kValueBias], a.v);
  // In place: what is kept for backward, and cached, is what attention reads.
  ops::rope_(a.q, c.head_dim, rope, inputs.positions, false);
  ops::rope_(a.k, c.head_dim, rope, inputs.positions, false);
  attend(c, inputs, layer, cache, a);
  ops::linear_forward_with_bias(a.attention, p[kAttentionOutput], p[kAttentionOutputBias], b.delta);
}

void attention_backward(const ModelConfig& c, const RoleTensors& p, const RoleTensors& g,
                        const Inputs& inputs, const ops::RopeTable& rope, LayerBuffers& a,
                        Buffers& b) {
  const profile::Scope scope("attention backward");
  ops::linear_backward_input(b.dx, p[kAttentionOutput], b.dattention);
  ops::linear_backward_weight(b.dx, a.attention, g[kAttentionOutput]);
  ops::linear_backward_bias(b.dx, g[kAttentionOutputBias]);
  // A task has read its rows of q, k and v before it writes their gradients there.
  ops::attention_backward(shape_of(c), inputs.segments, a.q, a.k, a.v, a.attention, a.lse,
                          b.dattention, a.q, a.k, a.v);
  // A rotation's transpose is the rotation back.
  ops::rope_(a.q, c.head_dim, rope, inputs.positions, true);
  ops::rope_(a.k, c.head_dim, rope, inputs.positions, true);
  // The norm's output is made again: keeping it would cost N d elements a layer.
  ops::apply_rms_norm(a.x, p[kInputNorm], a.rstd_input, b.norm);
  ops::linear_backward_weight(a.v, b.norm, g[kValue]);
  ops::linear_backward_weight(a.k, b.norm, g[kKey]);
  ops::linear_backward_weight(a.q, b.norm, g[kQuery]);
  ops::linear_backward_bias(a.v, g[kValueBias]);
  ops::linear_backward_bias(a.k, g[kKeyBias]);
  ops::linear_backward_bias(a.q, g[kQueryBias]);
  // Three shares of the gradient of the norm's output: the first one sets, the others add.
  ops::linear_backward_input(a.v, p[kValue], b.delta);
  ops::linear_backward_input(a.k, p[kKey], b.delta, 1.0);
  ops::linear_backward_input(a.q, p[kQuery], b.delta, 1.0);
  ops::rms_norm_backward(b.delta, a.x, p[kInputNorm], a.rstd_input, b.dx, g[kInputNorm]);
}

}  // namespace growmerge::transformer
