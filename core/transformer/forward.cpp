#include "core/transformer/forward.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/contracts/batch_source.h"
#include "core/model/families.h"
#include "core/ops/dispatch.h"
#include "core/ops/embedding.h"
#include "core/transformer/mlp_block.h"
#include "core/transformer/residual.h"

namespace growmerge::transformer {

std::int64_t fill_positions(const ModelConfig& c, std::span<const std::int32_t> starts,
                            std::int64_t n, const at::Tensor& positions,
                            const ops::Prefixes* prefixes) {
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
    const std::int32_t length = before + starts[s + 1] - starts[s];
    const auto first = before + static_cast<std::int32_t>(ops::rope_offset(c.rope, length));
    for (std::int32_t i = starts[s]; i < starts[s + 1]; ++i) {
      p[i] = first + i - starts[s];
    }
    longest = std::max<std::int64_t>(longest, length);
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

double embedding_scale(const ModelConfig& c, at::ScalarType dtype) {
  const double scale = c.embedding_scale();
  // Gemma keeps it in the type of the embedding.
  return family_of(c).scales_embedding && dtype == at::ScalarType::BFloat16
             ? static_cast<double>(static_cast<float>(c10::BFloat16(static_cast<float>(scale))))
             : scale;
}

void forward(const ModelConfig& c, const ModelParams& params, const Inputs& inputs,
             const Ropes& ropes, Buffers& b, KeyValueCache* cache) {
  const profile::Scope scope("forward");
  const auto layers = static_cast<std::size_t>(c.num_layers);
  const bool training = b.layers.size() == layers && b.dx.defined();
  const auto layer_buffers = [&](std::size_t l) -> LayerBuffers& {
    return b.layers[training ? l : 0];
  };
  // A residual addition and the norm behind it are one pass over the stream; hence the norm of the
  // next block is computed with the end of this one.
  const auto next_norm = [&](std::size_t l) {
    return l < layers ? norm_before_attention(params.layers[l], layer_buffers(l))
                      : StreamNorm{params.outer[Role::kFinalNorm], b.rstd_last};
  };
  const at::Tensor& embedded = layer_buffers(0).x;
  ops::embedding_forward(inputs.tokens, params.outer[Role::kEmbedding], embedded);
  if (const double scale = embedding_scale(c, embedded.scalar_type()); scale != 1.0) {
    embedded.mul_(scale);
  }
  at::Tensor input = add_to_stream(c, embedded, at::Tensor(), next_norm(0), at::Tensor(), b);
  for (std::size_t l = 0; l < layers; ++l) {
    if (inputs.before_layer) {
      inputs.before_layer(static_cast<std::int64_t>(l));
    }
    const RoleTensors& p = params.layers[l];
    LayerBuffers& a = layer_buffers(l);
    const StreamNorm behind_attention = norm_behind_attention(p, a);
    attention_forward(c, p, inputs, ropes, static_cast<std::int64_t>(l), cache, input,
                      block_output(behind_attention, a.attention_raw, b), a);
    finish_block(c, behind_attention, a.attention_raw, b);
    input = add_to_stream(c, a.x, b.delta, norm_before_mlp(p, a), a.mid, b);

    const StreamNorm behind_mlp = norm_behind_mlp(p, a);
    mlp_forward(c, p, input, block_output(behind_mlp, a.mlp_raw, b), a, b);
    finish_block(c, behind_mlp, a.mlp_raw, b);
    const at::Tensor& next_x = l + 1 < layers ? layer_buffers(l + 1).x : b.x_last;
    input = add_to_stream(c, a.mid, b.delta, next_norm(l + 1), next_x, b);
  }
  if (cache != nullptr) {
    cache->length += inputs.tokens.numel();
  }
}

}  // namespace growmerge::transformer
