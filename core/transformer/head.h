// The head and the loss: logits = x E^T (or the untied head's rows), in chunks of positions and, in
// training, tiles of the vocabulary, so that a batch's logits never exist. HyperLlama and Granite
// divide logits by a number; Gemma 2 caps them: c tanh(l / c). Shapes and names as in buffers.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/transformer/buffers.h"
#include "core/transformer/parameters.h"

namespace growmerge::transformer {

/// Rows of a head chunk: about 200 MB of logits (512 on CUDA), at least 128, at most 4096 rows (as
/// many as fit on CUDA). Larger chunks mean larger products and fewer passes over the head's
/// gradient.
[[nodiscard]] std::int64_t automatic_chunk_rows(const ModelConfig& config,
                                                std::int64_t num_positions, at::ScalarType dtype,
                                                at::DeviceType device);
/// Columns of a tile of the head's chunk: about 8 MB of logits, which stay in the outer cache from
/// one product to the next. An odd multiple of 64, or V, and always V on CUDA.
[[nodiscard]] std::int64_t head_tile_columns(const ModelConfig& config, std::int64_t chunk_rows,
                                             at::ScalarType dtype, at::DeviceType device);

/// The head's chunk of logits, out [C, V], of hidden rows [C, d]. `scaled` is used where logits are
/// divided.
void chunk_logits(const ModelConfig& config, const ModelParams& params, const at::Tensor& hidden_CD,
                  const at::Tensor& scaled_CD, const at::Tensor& logits_CV);

/// Losses of all positions of b.norm [N, d] go to b.nll [N], the gradient of the hidden states to
/// b.delta [N, d]; the head's is added to dhead [V, d]. Both times `gradient_scale`. Logits exist a
/// chunk at a time, and their gradient is made in their place. targets: int64 [N].
void head_backward(const ModelConfig& config, const ModelParams& params,
                   const at::Tensor& targets_N, double gradient_scale, Buffers& b,
                   const at::Tensor& dhead_VD);

}  // namespace growmerge::transformer
