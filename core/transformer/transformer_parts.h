// The parts that training, inference and the decoder share: parameters by role, buffers, the
// forward pass through the layers, the head.
//
// Internal to core/transformer/transformer*.cpp. Symbols as in transformer.h: N positions, d
// hidden, F intermediate, H heads, K key-value heads, h head_dim, V vocabulary, C rows of a head
// chunk.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/model/model_config.h"
#include "core/ops/attention.h"
#include "core/ops/rope.h"
#include "core/store/param_map.h"

namespace growmerge::transformer {

struct LayerParams {
  at::Tensor input_norm, q, k, v, o, post_norm, gate, up, down;
};

/// Tensors of a ParamMap by their role (shared, not copied).
struct ModelParams {
  at::Tensor embedding, final_norm, head;  // head is the embedding when tied
  std::vector<LayerParams> layers;
};

/// "model.layers.3.self_attn.q_proj.weight" and so on.
[[nodiscard]] std::string layer_tensor(std::int64_t layer, const char* part);

/// Errors: kNotFound, kMismatch naming the tensor whose shape, dtype, device or layout does not
/// fit.
[[nodiscard]] ModelParams model_params(const ModelConfig& config, const ParamMap& params,
                                       at::ScalarType dtype, at::Device device, const char* what);
/// The dtype and the device of the parameters.
[[nodiscard]] at::ScalarType compute_dtype(const ParamMap& params);
[[nodiscard]] at::Device compute_device(const ParamMap& params);
/// Errors: kUnsupported where the parameters are on another device: `what` runs on the CPU alone.
void require_cpu(const ParamMap& params, const char* what);

/// What a layer keeps for backward. In inference all layers share one, and x, mid and the next x
/// are one tensor.
struct LayerBuffers {
  at::Tensor x, q, k, v, attention, lse, mid, gate, up, rstd_input, rstd_post;
};

struct Buffers {
  std::int64_t num_positions = 0;
  std::vector<LayerBuffers> layers;
  at::Tensor x_last, rstd_last;  // the residual stream after the last layer
  at::Tensor norm, delta;        // [N, d]: a norm's output; a block's output or its gradient
  at::Tensor hidden;             // [N, F]: the gated product or its gradient
  at::Tensor dx, dattention;     // training: gradients of the residual stream and of attention
  at::Tensor positions;          // int32 [N]
  at::Tensor nll;                // [N], where the head computes losses
  at::Tensor logits, scaled;     // one chunk of the head
  // Training: statistics of its tiles of the vocabulary, and the hidden states' gradient.
  at::Tensor tile_max, tile_sum, at_target, dhidden;
};

struct BufferShape {
  std::int64_t num_positions = 0;
  std::int64_t chunk_rows = 0;
  bool training = false;
  at::ScalarType dtype = at::ScalarType::Float;
  at::Device device = at::Device(at::kCPU);
  bool operator==(const BufferShape&) const = default;
};

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
[[nodiscard]] Buffers make_buffers(const ModelConfig& config, const BufferShape& shape);
/// Buffers of `shape` in the memory of `held`, which were made for `held_shape`: not smaller in
/// positions and rows, the same otherwise. Contiguous as those of make_buffers.
[[nodiscard]] Buffers part_of_buffers(const ModelConfig& config, const BufferShape& shape,
                                      const BufferShape& held_shape, Buffers& held);
[[nodiscard]] std::int64_t buffer_bytes(const ModelConfig& config, const BufferShape& shape);

/// Fills `positions` by segment, behind its prefix; returns the longest of both together. Errors:
/// kMismatch when the segments do not tile [0, N).
std::int64_t fill_positions(std::span<const std::int32_t> segment_starts, std::int64_t n,
                            const at::Tensor& positions, const ops::Prefixes* prefixes = nullptr);
/// Errors: kMismatch naming the first id outside [0, V) (or not `ignored`).
void check_ids(const at::Tensor& ids, std::int64_t vocab_size, bool targets, const char* what);

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

/// Embeds and runs all layers and the last norm: buffers.norm holds the final hidden states. With a
/// cache, the tokens continue what the cache holds and are added to it.
void forward(const ModelConfig& config, const ModelParams& params, const Inputs& inputs,
             const ops::RopeTable& rope, Buffers& buffers, KeyValueCache* cache);

/// The head's chunk of logits, out [C, V], of hidden rows [C, d]. `scaled` is used where the head
/// has a normalisation factor.
void chunk_logits(const ModelConfig& config, const ModelParams& params, const at::Tensor& hidden_CD,
                  const at::Tensor& scaled_CD, const at::Tensor& logits_CV);

}  // namespace growmerge::transformer
