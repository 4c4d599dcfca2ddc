// The residual stream between blocks: the norms before and behind each block, what a block's output
// is multiplied by, and the gradients of these. Shapes and names as in buffers.h.
//
//   input = n_before(x),  x += multiplier * n_behind(block(input))
//
// Either norm may be missing (NormPlacement); no family has both a norm behind and a multiplier.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/transformer/buffers.h"
#include "core/transformer/parameters.h"

namespace growmerge::transformer {

/// A norm of the stream: its gain, which is undefined where there is none, and 1 / rms of its rows.
struct StreamNorm {
  at::Tensor gain_D;
  at::Tensor rstd_N;
};
[[nodiscard]] StreamNorm norm_before_attention(const RoleTensors& p, const LayerBuffers& a);
[[nodiscard]] StreamNorm norm_before_mlp(const RoleTensors& p, const LayerBuffers& a);
[[nodiscard]] StreamNorm norm_behind_attention(const RoleTensors& p, const LayerBuffers& a);
[[nodiscard]] StreamNorm norm_behind_mlp(const RoleTensors& p, const LayerBuffers& a);

/// sum = x + delta (an undefined delta: x stays, and `sum` is not touched) and the norm before the
/// next block, in one pass over the stream. Returns the block's input: b.norm, or the stream
/// itself.
at::Tensor add_to_stream(const ModelConfig& config, const at::Tensor& x_ND,
                         const at::Tensor& delta_ND, const StreamNorm& next,
                         const at::Tensor& sum_ND, Buffers& b);
/// A block's input again, from the stream in front of it.
at::Tensor block_input(const ModelConfig& config, const at::Tensor& x_ND, const StreamNorm& norm,
                       Buffers& b);

/// Where a block writes its output: b.delta, or `raw` where a norm stands behind it.
[[nodiscard]] const at::Tensor& block_output(const StreamNorm& behind, const at::Tensor& raw_ND,
                                             const Buffers& b);
/// From there to b.delta, what is added to the stream.
void finish_block(const ModelConfig& config, const StreamNorm& behind, const at::Tensor& raw_ND,
                  Buffers& b);

/// The gradient of a block's output from b.dx, that of the stream behind it; adds to dgain.
at::Tensor output_gradient(const ModelConfig& config, const StreamNorm& behind,
                           const at::Tensor& raw_ND, const at::Tensor& dgain_D, Buffers& b);
/// Adds to b.dx what flows through the block: b.delta, the gradient of its input, and the norm
/// before it; adds to dgain.
void add_input_gradient(const ModelConfig& config, const at::Tensor& x_ND, const StreamNorm& norm,
                        const at::Tensor& dgain_D, Buffers& b);

}  // namespace growmerge::transformer
