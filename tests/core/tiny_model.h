// Tiny random models and packed batches for the tests of the transformer.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/contracts/batch_source.h"
#include "core/model/model_config.h"
#include "core/store/param_map.h"

namespace growmerge::testing {

inline ModelConfig tiny_config(std::int64_t num_kv_heads, bool tied, Activation activation) {
  ModelConfig c;
  c.vocab_size = 19;
  c.hidden_size = 12;
  c.intermediate_size = 14;
  c.num_layers = 2;
  c.num_heads = 4;
  c.num_kv_heads = num_kv_heads;
  c.head_dim = 6;  // not hidden / heads
  c.max_position_embeddings = 64;
  c.activation = activation;
  c.tie_word_embeddings = tied;
  return c;
}

/// Normal numbers by name and position, standard deviation `scale`; norm gains around 1.
inline ParamMap random_params(const ModelConfig& c, double scale, std::uint64_t seed) {
  ParamMap params;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> sizes) {
    const at::Tensor t = at::empty(sizes, at::ScalarType::Double);
    const Philox random(seed, stream_id(name));
    auto* p = t.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      p[i] = scale * random.normal(static_cast<std::uint64_t>(i)) + (sizes.size() == 1 ? 1.0 : 0.0);
    }
    params.set(name, t);
  };
  const std::int64_t d = c.hidden_size;
  add("model.embed_tokens.weight", {c.vocab_size, d});
  for (std::int64_t l = 0; l < c.num_layers; ++l) {
    const std::string at = "model.layers." + std::to_string(l) + ".";
    add(at + "input_layernorm.weight", {d});
    add(at + "self_attn.q_proj.weight", {c.num_heads * c.head_dim, d});
    add(at + "self_attn.k_proj.weight", {c.num_kv_heads * c.head_dim, d});
    add(at + "self_attn.v_proj.weight", {c.num_kv_heads * c.head_dim, d});
    add(at + "self_attn.o_proj.weight", {d, c.num_heads * c.head_dim});
    add(at + "post_attention_layernorm.weight", {d});
    add(at + "mlp.gate_proj.weight", {c.intermediate_size, d});
    add(at + "mlp.up_proj.weight", {c.intermediate_size, d});
    add(at + "mlp.down_proj.weight", {d, c.intermediate_size});
  }
  add("model.norm.weight", {d});
  if (!c.tie_word_embeddings) {
    add("lm_head.weight", {c.vocab_size, d});
  }
  return params;
}

/// Rows of documents: `lengths` are segments that tile rows * row_tokens positions; the last target
/// of each is ignored.
inline Batch packed_batch(std::int64_t rows, std::int64_t row_tokens,
                          const std::vector<std::int32_t>& lengths, std::int64_t vocab_size,
                          std::uint64_t seed) {
  Batch batch;
  batch.num_rows = rows;
  batch.row_tokens = row_tokens;
  const std::int64_t n = rows * row_tokens;
  batch.tokens = at::empty({n}, at::ScalarType::Long);
  batch.targets = at::empty({n}, at::ScalarType::Long);
  auto* tokens = batch.tokens.mutable_data_ptr<std::int64_t>();
  auto* targets = batch.targets.mutable_data_ptr<std::int64_t>();
  const Philox random(seed, stream_id("tokens"));
  for (std::int64_t i = 0; i < n; ++i) {
    tokens[i] = static_cast<std::int64_t>(
        random.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(vocab_size)));
  }
  batch.segment_starts = {0};
  for (const std::int32_t length : lengths) {
    const std::int32_t start = batch.segment_starts.back();
    for (std::int32_t i = start; i < start + length; ++i) {
      targets[i] = i + 1 < start + length ? tokens[i + 1] : Batch::kIgnoredTarget;
    }
    batch.segment_starts.push_back(start + length);
  }
  batch.row_sources.assign(static_cast<std::size_t>(rows), 0);
  return batch;
}

}  // namespace growmerge::testing
