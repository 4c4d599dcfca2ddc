#include "core/transformer/mlp_block.h"

#include "core/ops/dispatch.h"
#include "core/ops/gated_mlp.h"
#include "core/ops/linear.h"

namespace growmerge::transformer {

using enum Role;

void mlp_forward(const ModelConfig& c, const RoleTensors& p, const at::Tensor& x_ND,
                 const at::Tensor& out_ND, LayerBuffers& a, Buffers& b) {
  ops::linear_forward_with_bias(x_ND, p[kGate], p[kGateBias], a.gate);
  ops::linear_forward_with_bias(x_ND, p[kUp], p[kUpBias], a.up);
  ops::gated_forward(c.activation, a.gate, a.up, b.hidden);
  ops::linear_forward_with_bias(b.hidden, p[kDown], p[kDownBias], out_ND);
}

void mlp_backward(const ModelConfig& c, const RoleTensors& p, const RoleTensors& g,
                  const at::Tensor& x_ND, const at::Tensor& dout_ND, LayerBuffers& a, Buffers& b) {
  const profile::Scope scope("mlp backward");
  ops::linear_backward_input(dout_ND, p[kDown], b.hidden);
  // Takes the gradient of the gated product, and leaves the product itself there: it was not kept,
  // and Wdown's gradient needs it.
  ops::gated_backward_(c.activation, a.gate, a.up, b.hidden);
  ops::linear_backward_weight(dout_ND, b.hidden, g[kDown]);
  ops::linear_backward_bias(dout_ND, g[kDownBias]);
  ops::linear_backward_weight(a.up, x_ND, g[kUp]);
  ops::linear_backward_weight(a.gate, x_ND, g[kGate]);
  ops::linear_backward_bias(a.up, g[kUpBias]);
  ops::linear_backward_bias(a.gate, g[kGateBias]);
  ops::linear_backward_input(a.up, p[kUp], b.delta);
  ops::linear_backward_input(a.gate, p[kGate], b.delta, 1.0);
}

}  // namespace growmerge::transformer
