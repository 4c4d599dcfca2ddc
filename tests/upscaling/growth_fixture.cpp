#include "growth_fixture.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cmath>

#include "core/base/random.h"
#include "core/transformer/transformer.h"

namespace growmerge::testing {

ModelConfig small_config(const Shape& shape) {
  ModelConfig c;
  c.vocab_size = shape.vocab;
  c.hidden_size = 8 * shape.heads;
  c.intermediate_size = shape.ffn;
  c.num_layers = shape.layers;
  c.num_heads = shape.heads;
  c.num_kv_heads = shape.kv_heads;
  c.head_dim = 8;
  c.max_position_embeddings = 64;
  c.tie_word_embeddings = shape.tied;
  c.validate();
  return c;
}

Model random_model(const Shape& shape, std::uint64_t seed) {
  Model model{small_config(shape), {}};
  for (const auto& [name, dims, place] : model_tensors(model.config)) {
    const at::Tensor t = at::empty(dims, at::ScalarType::Double);
    const Philox random(seed, stream_id(name));
    const bool gain = dims.size() == 1;
    const double scale = gain ? 0.3 : 1.0 / std::sqrt(static_cast<double>(dims.back()));
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const double value = scale * random.normal(static_cast<std::uint64_t>(i));
      t.data_ptr<double>()[i] = static_cast<float>(gain ? 1.0 + value : value);
    }
    model.params.set(name, t);
  }
  return model;
}

Batch random_batch(std::int64_t rows, std::int64_t row_tokens, std::int64_t vocab,
                   std::uint64_t seed) {
  Batch batch;
  batch.num_rows = rows;
  batch.row_tokens = row_tokens;
  batch.tokens = at::empty({rows * row_tokens}, at::ScalarType::Long);
  batch.targets = at::empty({rows * row_tokens}, at::ScalarType::Long);
  const Philox random(seed, stream_id("batch"));
  for (std::int64_t r = 0; r < rows; ++r) {
    batch.segment_starts.push_back(static_cast<std::int32_t>(r * row_tokens));
    batch.row_sources.push_back(0);
    for (std::int64_t t = 0; t < row_tokens; ++t) {
      const std::int64_t i = r * row_tokens + t;
      const auto draw = [&](std::int64_t at) {
        return static_cast<std::int64_t>(
            random.below(static_cast<std::uint64_t>(at), static_cast<std::uint64_t>(vocab)));
      };
      batch.tokens.data_ptr<std::int64_t>()[i] = draw(i);
      batch.targets.data_ptr<std::int64_t>()[i] =
          t + 1 < row_tokens ? draw(i + 1) : Batch::kIgnoredTarget;
    }
  }
  batch.segment_starts.push_back(static_cast<std::int32_t>(rows * row_tokens));
  return batch;
}

at::Tensor batch_logits(const Model& model, const Batch& batch) {
  const at::Tensor hidden =
      hidden_states(model.config, model.params, batch.tokens, batch.segment_starts);
  return head_logits(model.config, model.params, hidden).to(at::ScalarType::Double).contiguous();
}

double rms(const at::Tensor& tensor) { return std::sqrt(tensor.square().mean().item<double>()); }

double max_abs_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace growmerge::testing
