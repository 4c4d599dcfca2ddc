// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in Hugging Face's rotate-half form:
// of a head (a, b) of two halves at position p, a' = a cos - b sin, b' = b cos + a sin with angles
// p / theta^(2j/h). Only the first `rotary_dim` elements of a head turn, h then being that number.
//
// Scalings: linear divides all frequencies by `factor`; llama3 the low ones, blending those between
// two wavelengths; yarn (arXiv 2309.00071) likewise by rotations in the original context, and
// multiplies cos and sin by 0.1 ln factor + 1; longrope (arXiv 2402.13753) divides each by its own
// number, of which there are two sets: one for texts inside the original context and one for longer
// ones; dynamic is the default inside the context, beyond which nothing is computed here.
//
// Frequencies, angles, cos and sin are rounded to float32 where Transformers rounds them, for every
// compute dtype, so that results are comparable in float64, too.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/model/model_config.h"

namespace growmerge::ops {

struct RopeTable {
  at::Tensor cos;  // float32 [P, rotary_dim / 2]: P positions
  at::Tensor sin;
};

/// Rows of texts of up to `num_positions`. With longrope, rows of texts that are longer than the
/// original context follow those of texts inside it: their position 0 is rope_offset().
[[nodiscard]] RopeTable make_rope_table(const RopeParameters& rope, std::int64_t rotary_dim,
                                        std::int64_t num_positions);
/// The table's row of position 0 of a text of this length.
[[nodiscard]] std::int64_t rope_offset(const RopeParameters& rope, std::int64_t length);

/// Rotates every head of x [N, H h] in place; `inverse` is the transpose (the gradient). H may be
/// the number of query heads or of key-value heads. positions: int32 [N], each below the table's
/// length P. Legend: kernels/kernels.h.
void rope_(const at::Tensor& x_NHh, std::int64_t head_dim, const RopeTable& table,
           const at::Tensor& positions_N, bool inverse);

}  // namespace growmerge::ops
