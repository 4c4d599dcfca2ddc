// The tensors that a pass writes and reads, allocated once for a shape.
//
// Legend, here and in all of core/transformer: N positions of a batch, d hidden size, F
// intermediate size, H query heads, K key and value heads, h head dimension, V vocabulary, L
// layers, C rows (positions) of a chunk of the head, T columns of a tile of it. A name like x_ND
// says its tensor's shape; "a" stands for a layer's kept activations, "b" for what all layers
// share, "p" for parameters and "g" for their gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/model/model_config.h"

namespace growmerge::transformer {

/// What a layer keeps for backward. In inference all layers share one, and x, mid and the next
/// layer's x are one tensor, since nobody looks back. Backward writes gradients over what it has
/// read for the last time: q, k, v, gate and up hold their own gradients afterwards.
struct LayerBuffers {
  at::Tensor x;           // [N, d] the residual stream before the layer
  at::Tensor q;           // [N, H h] queries; their gradient after backward
  at::Tensor k, v;        // [N, K h] keys and values; their gradients after backward
  at::Tensor attention;   // [N, H h] heads' results before the output projection
  at::Tensor lse;         // [H, N] log-sum-exp of each query's scores (training)
  at::Tensor mid;         // [N, d] the residual stream between attention and MLP
  at::Tensor gate, up;    // [N, F] before the activation; their gradients after backward
  at::Tensor rstd_input;  // [N] 1 / rms of x, that of mid below
  at::Tensor rstd_post;
  // Where queries and keys are normed: before that, and 1 / rms of each row (a head, or all heads).
  // In inference q_raw and q are one tensor, as are k_raw and k.
  at::Tensor q_raw, k_raw;    // [N, H h], [N, K h]
  at::Tensor rstd_q, rstd_k;  // [N H] and [N K], or [N]
  // Where norms stand behind blocks: what a block gave, and 1 / rms. In inference these are
  // Buffers::delta.
  at::Tensor attention_raw, mlp_raw;            // [N, d]
  at::Tensor rstd_attention_raw, rstd_mlp_raw;  // [N]
};

struct Buffers {
  std::int64_t num_positions = 0;
  std::vector<LayerBuffers> layers;
  at::Tensor x_last, rstd_last;  // [N, d], [N]: the residual stream after the last layer
  at::Tensor norm;               // [N, d] output of the norm that ran last; a block's input
  at::Tensor delta;       // [N, d] forward: a block's output; backward: gradient of a norm's output
  at::Tensor hidden;      // [N, F] forward: the gated product; backward: its gradient
  at::Tensor dx;          // [N, d] training: gradient of the residual stream
  at::Tensor dout;        // [N, d] the same of a block's output, where it is not dx
  at::Tensor dattention;  // [N, H h] training: gradient of LayerBuffers::attention
  at::Tensor positions;   // int32 [N] within their segments
  at::Tensor nll;         // [N] where the head computes losses
  at::Tensor logits;      // [C, V] one chunk; training: exponentials, tile by tile
  at::Tensor scaled;      // [C, d] hidden states times a factor
  // Training: the chunk's statistics by tile and row, and the hidden states' gradient in the type
  // of sums.
  at::Tensor tile_max, tile_sum;  // [V / T, C]
  at::Tensor at_target;           // [C]
  at::Tensor dhidden;             // [C, d]
};

struct BufferShape {
  std::int64_t num_positions = 0;
  std::int64_t chunk_rows = 0;
  bool training = false;
  at::ScalarType dtype = at::ScalarType::Float;
  at::Device device = at::Device(at::kCPU);
  bool operator==(const BufferShape&) const = default;
};

[[nodiscard]] Buffers make_buffers(const ModelConfig& config, const BufferShape& shape);
/// Buffers of `shape` in the memory of `held`, which were made for `held_shape`: not smaller in
/// positions and rows, the same otherwise. Contiguous as those of make_buffers.
[[nodiscard]] Buffers part_of_buffers(const ModelConfig& config, const BufferShape& shape,
                                      const BufferShape& held_shape, Buffers& held);
[[nodiscard]] std::int64_t buffer_bytes(const ModelConfig& config, const BufferShape& shape);

}  // namespace growmerge::transformer
