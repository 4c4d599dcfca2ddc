#include "core/transformer/mlp_block.h"

#include "core/ops/dispatch.h"
#include "core/ops/gated_mlp.h"
#include "core/ops/linear.h"
#include "core/ops/rms_norm.h"

namespace growmerge::transformer {

using enum Role;

void mlp_forward(const ModelConfig& c, const RoleTensors& p, LayerBuffers& a, Buffers& b) {
  ops::linear_forward_with_bias(b.norm, p[kGate], p[kGateBias], a.gate);
  ops::linear_forward_with_bias(b.norm, p[kUp], p[kUpBias], a.up);
  ops::gated_forward(c.activation, a.gate, a.up, b.hidden);
  ops::linear_forward_with_bias(b.hidden, p[kDown], p[kDownBias], b.delta);
}

void mlp_backward(const ModelConfig& c, const RoleTensors& p, const RoleTensors& g, LayerBuffers& a,
                  Buffers& b) {
  const profile::Scope scope("mlp backward");
  ops::linear_backward_input(b.dx, p[kDown], b.hidden);
  // Takes the gradient of the gated product, and leaves the product itself there: it was not kept,
  // and Wdown's gradient needs it.
  ops::gated_backward_(c.activation, a.gate, a.up, b.hidden);
  ops::linear_backward_weight(b.dx, b.hidden, g[kDown]);
  ops::linear_backward_bias(b.dx, g[kDownBias]);
  // The norm's output is made again: keeping it would cost N d elements a layer.
  ops::apply_rms_norm(a.mid, p[kPostAttentionNorm], a.rstd_post, b.norm);
  ops::linear_backward_weight(a.up, b.norm, g[kUp]);
  ops::linear_backward_weight(a.gate, b.norm, g[kGate]);
  ops::linear_backward_bias(a.up, g[kUpBias]);
  ops::linear_backward_bias(a.gate, g[kGateBias]);
  ops::linear_backward_input(a.up, p[kUp], b.delta);
  ops::linear_backward_input(a.gate, p[kGate], b.delta, 1.0);
  ops::rms_norm_backward(b.delta, a.mid, p[kPostAttentionNorm], a.rstd_post, b.dx,
                         g[kPostAttentionNorm]);
}

}  // namespace growmerge::transformer
