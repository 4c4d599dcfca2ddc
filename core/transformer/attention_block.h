// The attention of a layer, forward and backward side by side:
//   delta = attention(rope(x Wq^T), rope(x Wk^T), x Wv^T) Wo^T   with x the normalised stream
// and a bias added to each product where the family has one.
// Shapes and names as in buffers.h. Causal inside segments; K <= H key-value heads are shared by
// groups of query heads (arXiv 2305.13245).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/ops/attention.h"
#include "core/ops/rope.h"
#include "core/transformer/buffers.h"
#include "core/transformer/parameters.h"

namespace growmerge::transformer {

/// Rows of a key-value cache, one pair per layer, [max_tokens, K h].
struct KeyValueCache {
  std::vector<at::Tensor> keys, values;
  std::int64_t length = 0;
};

/// The positions of a batch, on the device of the parameters.
struct Inputs {
  at::Tensor tokens;     // int64 [N]
  at::Tensor positions;  // int32 [N] within their segments
  ops::Segments segments = {};
  const ops::Prefixes* prefixes = nullptr;
};

/// From b.norm [N, d] to b.delta [N, d], keeping a.q, a.k, a.v, a.attention and a.lse. With a
/// cache, keys and values of layer `layer` are added behind what it holds and attended to with it.
void attention_forward(const ModelConfig& config, const RoleTensors& p, const Inputs& inputs,
                       const ops::RopeTable& rope, std::int64_t layer, KeyValueCache* cache,
                       LayerBuffers& a, Buffers& b);

/// b.dx [N, d] holds the gradient of the block's output, which is that of the residual stream
/// behind it, and gets the share added that flows through the block and its norm. Gradients of
/// parameters are added to `g`. Overwritten: a.q, a.k, a.v by their gradients; b.norm, b.delta,
/// b.dattention.
void attention_backward(const ModelConfig& config, const RoleTensors& p, const RoleTensors& g,
                        const Inputs& inputs, const ops::RopeTable& rope, LayerBuffers& a,
                        Buffers& b);

}  // namespace growmerge::transformer
