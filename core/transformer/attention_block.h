// The attention of a layer, forward and backward side by side:
//   out = attention(rope(n(x Wq^T)), rope(n(x Wk^T)), x Wv^T) Wo^T   with x the block's input
// and, where the family has them, a bias added to each product and norms n of queries and keys
// (arXiv 2010.04245), of each head or of all heads as one row.
// Shapes and names as in buffers.h. Causal inside segments; K <= H key-value heads are shared by
// groups of query heads (arXiv 2305.13245).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "core/ops/attention.h"
#include "core/ops/rope.h"
#include "core/transformer/buffers.h"
#include "core/transformer/parameters.h"

namespace growmerge::transformer {

/// The angles of a model's layers.
struct Ropes {
  ops::RopeTable global;
  ops::RopeTable local;  // of layers with a window, where they have their own

  /// Null where the layer has no RoPE.
  [[nodiscard]] const ops::RopeTable* of(const ModelConfig& config, std::int64_t layer) const;
};
/// Errors: kUnsupported for more positions than a RoPE of type dynamic is computed for.
[[nodiscard]] Ropes make_ropes(const ModelConfig& config, std::int64_t num_positions);

/// Rows of a key-value cache, one pair per layer, [max_tokens, K h].
struct KeyValueCache {
  std::vector<at::Tensor> keys, values;
  std::int64_t length = 0;
};

/// The positions of a batch, on the device of the parameters.
struct Inputs {
  at::Tensor tokens;     // int64 [N]
  at::Tensor positions;  // int32 [N] rows of the RoPE table: positions within their segments
  ops::Segments segments = {};
  const ops::Prefixes* prefixes = nullptr;
  /// Called before a layer is computed: where layers share their matrices, it fills them.
  std::function<void(std::int64_t layer)> before_layer = nullptr;
};

/// From x [N, d], the block's input, to out [N, d], keeping a.q, a.k, a.v, a.attention and a.lse
/// (and a.q_raw, a.k_raw). With a cache, keys and values of layer `layer` are added behind what it
/// holds and attended to with it.
void attention_forward(const ModelConfig& config, const RoleTensors& p, const Inputs& inputs,
                       const Ropes& ropes, std::int64_t layer, KeyValueCache* cache,
                       const at::Tensor& x_ND, const at::Tensor& out_ND, LayerBuffers& a);

/// dout [N, d] holds the gradient of the block's output; b.delta [N, d] takes that of its input x.
/// Gradients of parameters are added to `g`. Overwritten: a.q, a.k, a.v by their gradients;
/// b.dattention.
void attention_backward(const ModelConfig& config, const RoleTensors& p, const RoleTensors& g,
                        const Inputs& inputs, const Ropes& ropes, std::int64_t layer,
                        const at::Tensor& x_ND, const at::Tensor& dout_ND, LayerBuffers& a,
                        Buffers& b);

}  // namespace growmerge::transformer
