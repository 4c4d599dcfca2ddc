// The gated MLP of a layer (arXiv 2002.05202), forward and backward side by side:
//   delta = (act(x Wgate^T) * (x Wup^T)) Wdown^T   with x the normalised stream
// and a bias added to each product where the family has one.
// Shapes and names as in buffers.h.
#pragma once

#include "core/transformer/buffers.h"
#include "core/transformer/parameters.h"

namespace growmerge::transformer {

/// From b.norm [N, d] to b.delta [N, d] by way of b.hidden [N, F], keeping a.gate and a.up.
void mlp_forward(const ModelConfig& config, const RoleTensors& p, LayerBuffers& a, Buffers& b);

/// b.dx [N, d] as in attention_backward(). Overwritten: a.gate and a.up by their gradients;
/// b.hidden, b.norm, b.delta.
void mlp_backward(const ModelConfig& config, const RoleTensors& p, const RoleTensors& g,
                  LayerBuffers& a, Buffers& b);

}  // namespace growmerge::transformer
