// The gated MLP of a layer (arXiv 2002.05202), forward and backward side by side:
//   out = (act(x Wgate^T) * (x Wup^T)) Wdown^T   with x the block's input
// and a bias added to each product where the family has one.
// Shapes and names as in buffers.h.
#pragma once

#include "core/transformer/buffers.h"
#include "core/transformer/parameters.h"

namespace growmerge::transformer {

/// From x [N, d] to out [N, d] by way of b.hidden [N, F], keeping a.gate and a.up.
void mlp_forward(const ModelConfig& config, const RoleTensors& p, const at::Tensor& x_ND,
                 const at::Tensor& out_ND, LayerBuffers& a, Buffers& b);

/// dout and b.delta as in attention_backward(). Overwritten: a.gate and a.up by their gradients;
/// b.hidden.
void mlp_backward(const ModelConfig& config, const RoleTensors& p, const RoleTensors& g,
                  const at::Tensor& x_ND, const at::Tensor& dout_ND, LayerBuffers& a, Buffers& b);

}  // namespace growmerge::transformer
