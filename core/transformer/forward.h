// From tokens to final hidden states, for training, inference and the decoder. Shapes and names as
// in buffers.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>

#include "core/transformer/attention_block.h"
#include "core/transformer/buffers.h"
#include "core/transformer/parameters.h"

namespace growmerge {
class Workspace;
}  // namespace growmerge

namespace growmerge::transformer {

/// Fills `positions` by segment, behind its prefix, with rows of the RoPE table; returns the
/// longest of both together. Errors: kMismatch when the segments do not tile [0, N).
std::int64_t fill_positions(const ModelConfig& config, std::span<const std::int32_t> segment_starts,
                            std::int64_t n, const at::Tensor& positions,
                            const ops::Prefixes* prefixes = nullptr);
/// Errors: kMismatch naming the first id outside [0, V) (or not `ignored`).
void check_ids(const at::Tensor& ids, std::int64_t vocab_size, bool targets, const char* what);

/// Embeds and runs all layers and the last norm: buffers.norm holds the final hidden states. With a
/// cache, the tokens continue what the cache holds and are added to it.
void forward(const ModelConfig& config, const ModelParams& params, const Inputs& inputs,
             const Ropes& ropes, Buffers& buffers, KeyValueCache* cache);

/// hidden_states() of layers whose parameters come when they are due (Inputs::before_layer).
[[nodiscard]] at::Tensor run_layers(const ModelConfig& config, const ParamMap& params,
                                    const at::Tensor& tokens,
                                    std::span<const std::int32_t> segment_starts,
                                    Workspace* workspace, const ops::Prefixes* prefixes,
                                    const std::function<void(std::int64_t layer)>& before_layer);

/// What the embedding's rows are multiplied by in this type.
[[nodiscard]] double embedding_scale(const ModelConfig& config, at::ScalarType dtype);

}  // namespace growmerge::transformer
