#include "core/transformer/forward.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/contracts/batch_source.h"
#include "core/ops/dispatch.h"
#include "core/ops/embedding.h"
#include "core/ops/rms_norm.h"
#include "core/transformer/mlp_block.h"

namespace growmerge::transformer {

std::int64_t fill_positions(std::span<const std::int32_t> starts, std::int64_t n,
                            const at::Tensor& positions, const ops::Prefixes* prefixes) {
  GM_CHECK(starts.size() >= 2 && starts.front() == 0 && starts.back() == n, kMismatch,
           "segment_starts must run from 0 to the number of positions (", n, "), has ",
           starts.size(), " entries", starts.empty() ? "" : " ending at ",
           starts.empty() ? 0 : starts.back());
  auto* p = ops::data<std::int32_t>(positions);
  std::int64_t longest = 0;
  for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
    GM_CHECK(starts[s] < starts[s + 1], kMismatch, "segment_starts must ascend: entry ", s, " is ",
             starts[s], ", the next is ", starts[s + 1]);
    const auto before = prefixes == nullptr ? 0 : static_cast<std::int32_t>(prefixes->of(s).size());
    for (std::int32_t i = starts[s]; i < starts[s + 1]; ++i) {
      p[i] = before + i - starts[s];
    }
    longest = std::max<std::int64_t>(longest, before + starts[s + 1] - starts[s]);
  }
  return longest;
}

void check_ids(const at::Tensor& ids, std::int64_t vocab_size, bool targets, const char* what) {
  GM_CHECK(ids.defined() && ids.dim() == 1 && ids.scalar_type() == at::ScalarType::Long &&
               ids.is_contiguous(),
           kMismatch, what, " must be one contiguous row of int64 ids");
  const auto* p = ops::const_data<std::int64_t>(ids);
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    GM_CHECK((p[i] >= 0 && p[i] < vocab_size) || (targets && p[i] == Batch::kIgnoredTarget),
             kMismatch, what, ": id ", p[i], " at position ", i, " is outside the vocabulary of ",
             vocab_size, ": were the tokens made with this model's tokenizer?");
  }
}

void forward(const ModelConfig& c, const ModelParams& params, const Inputs& inputs,
             const ops::RopeTable& rope, Buffers& b, KeyValueCache* cache) {
  const profile::Scope scope("forward");
  const auto layers = static_cast<std::size_t>(c.num_layers);
  const bool training = b.layers.size() == layers && b.dx.defined();
  const auto layer_buffers = [&](std::size_t l) -> LayerBuffers& {
    return b.layers[training ? l : 0];
  };
  // A residual addition and the norm behind it are one pass over the stream; hence the norm of the
  // next block is computed with the end of this one.
  const auto add_and_norm = [&](const at::Tensor& x_ND, const at::Tensor& delta_ND,
                                const at::Tensor& gain_D, const at::Tensor& sum_ND,
                                const at::Tensor& rstd_N) {
    ops::add_rms_norm(x_ND, delta_ND, gain_D, c.rms_norm_eps, sum_ND, b.norm, rstd_N);
  };
  ops::embedding_forward(inputs.tokens, params.outer[Role::kEmbedding], layer_buffers(0).x);
  if (layers > 0) {
    add_and_norm(layer_buffers(0).x, at::Tensor(), params.layers[0][Role::kInputNorm], at::Tensor(),
                 layer_buffers(0).rstd_input);
  }
  for (std::size_t l = 0; l < layers; ++l) {
    const RoleTensors& p = params.layers[l];
    LayerBuffers& a = layer_buffers(l);
    attention_forward(c, p, inputs, rope, static_cast<std::int64_t>(l), cache, a, b);
    add_and_norm(a.x, b.delta, p[Role::kPostAttentionNorm], a.mid, a.rstd_post);
    mlp_forward(c, p, a, b);
    if (l + 1 < layers) {
      LayerBuffers& next = layer_buffers(l + 1);
      add_and_norm(a.mid, b.delta, params.layers[l + 1][Role::kInputNorm], next.x, next.rstd_input);
    } else {
      add_and_norm(a.mid, b.delta, params.outer[Role::kFinalNorm], b.x_last, b.rstd_last);
    }
  }
  if (cache != nullptr) {
    cache->length += inputs.tokens.numel();
  }
}

}  // namespace growmerge::transformer
