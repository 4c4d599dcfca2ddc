// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in Hugging Face's rotate-half form:
// of a head (a, b) of two halves at position p, a' = a cos - b sin, b' = b cos + a sin with angles
// p / theta^(2j/h). With Llama 3 scaling, low frequencies are divided by `factor` and those between
// the two wavelengths are blended.
//
// Frequencies, angles, cos and sin are rounded to float32 where Transformers rounds them, for every
// compute dtype, so that results are comparable in float64, too.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/model/model_config.h"

namespace growmerge::ops {

struct RopeTable {
  at::Tensor cos;  // float32 [P, h / 2]: P positions, h head_dim
  at::Tensor sin;
};

[[nodiscard]] RopeTable make_rope_table(const ModelConfig& config, std::int64_t num_positions);

/// Rotates every head of x [N, H h] in place; `inverse` turns back (the gradient). H may be the
/// number of query heads or of key-value heads. positions: int32 [N], each below the table's length
/// P. Legend: kernels/kernels.h.
void rope_(const at::Tensor& x_NHh, std::int64_t head_dim, const RopeTable& table,
           const at::Tensor& positions_N, bool inverse);

}  // namespace growmerge::ops
