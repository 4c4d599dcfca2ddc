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
#include "core/model/tensor_table.h"
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
  const auto add = [&](const TensorSpec& tensor) {
    const at::Tensor t = at::empty(tensor.shape, at::ScalarType::Double);
    const Philox random(seed, stream_id(tensor.name));
    const double mean = initial_values(c, *tensor.place.row) == Initial::kOnes ? 1.0 : 0.0;
    auto* p = t.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      p[i] = scale * random.normal(static_cast<std::uint64_t>(i)) + mean;
    }
    params.set(tensor.name, t);
  };
  for (const TensorSpec& tensor : model_tensors(c)) {
    add(tensor);
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
