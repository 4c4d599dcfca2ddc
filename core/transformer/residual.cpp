#include "core/transformer/residual.h"

#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>

#include "core/base/error.h"
#include "core/model/families.h"
#include "core/ops/rms_norm.h"

namespace growmerge::transformer {
namespace {

using enum Role;

ops::Gain gain_of(const ModelConfig& c, const StreamNorm& norm) {
  return {norm.gain_D, family_of(c).gain_offset};
}

}  // namespace

StreamNorm norm_before_attention(const RoleTensors& p, const LayerBuffers& a) {
  return {p[kInputNorm], a.rstd_input};
}

// Llama's name for this norm is another one's where there are norms around the blocks.
StreamNorm norm_before_mlp(const RoleTensors& p, const LayerBuffers& a) {
  return {p[kMlpNorm].defined() ? p[kMlpNorm] : p[kPostAttentionNorm], a.rstd_post};
}

StreamNorm norm_behind_attention(const RoleTensors& p, const LayerBuffers& a) {
  return {p[kAttentionOutputNorm], a.rstd_attention_raw};
}

StreamNorm norm_behind_mlp(const RoleTensors& p, const LayerBuffers& a) {
  return {p[kMlpOutputNorm], a.rstd_mlp_raw};
}

at::Tensor add_to_stream(const ModelConfig& c, const at::Tensor& x_ND, const at::Tensor& delta_ND,
                         const StreamNorm& next, const at::Tensor& sum_ND, Buffers& b) {
  if (next.gain_D.defined()) {
    ops::add_rms_norm(x_ND, delta_ND, gain_of(c, next), c.rms_norm_eps, sum_ND, b.norm,
                      next.rstd_N);
    return b.norm;
  }
  if (!delta_ND.defined()) {
    return x_ND;
  }
  at::Tensor sum = sum_ND;
  at::add_out(sum, x_ND, delta_ND);
  return sum;
}

at::Tensor block_input(const ModelConfig& c, const at::Tensor& x_ND, const StreamNorm& norm,
                       Buffers& b) {
  if (!norm.gain_D.defined()) {
    return x_ND;
  }
  ops::apply_rms_norm(x_ND, gain_of(c, norm), norm.rstd_N, b.norm);
  return b.norm;
}

const at::Tensor& block_output(const StreamNorm& behind, const at::Tensor& raw_ND,
                               const Buffers& b) {
  return behind.gain_D.defined() ? raw_ND : b.delta;
}

void finish_block(const ModelConfig& c, const StreamNorm& behind, const at::Tensor& raw_ND,
                  Buffers& b) {
  if (behind.gain_D.defined()) {
    ops::add_rms_norm(raw_ND, at::Tensor(), gain_of(c, behind), c.rms_norm_eps, at::Tensor(),
                      b.delta, behind.rstd_N);
  } else if (c.residual_multiplier != 1.0) {
    b.delta.mul_(c.residual_multiplier);
  }
}

at::Tensor output_gradient(const ModelConfig& c, const StreamNorm& behind, const at::Tensor& raw_ND,
                           const at::Tensor& dgain_D, Buffers& b) {
  if (behind.gain_D.defined()) {
    b.dout.zero_();  // the operator adds
    ops::rms_norm_backward(b.dx, raw_ND, gain_of(c, behind), behind.rstd_N, b.dout, dgain_D);
    return b.dout;
  }
  if (c.residual_multiplier == 1.0) {
    return b.dx;
  }
  b.dout.copy_(b.dx);
  return b.dout.mul_(c.residual_multiplier);
}

void add_input_gradient(const ModelConfig& c, const at::Tensor& x_ND, const StreamNorm& norm,
                        const at::Tensor& dgain_D, Buffers& b) {
  if (norm.gain_D.defined()) {
    ops::rms_norm_backward(b.delta, x_ND, gain_of(c, norm), norm.rstd_N, b.dx, dgain_D);
  } else {
    b.dx.add_(b.delta);
  }
}

}  // namespace growmerge::transformer
