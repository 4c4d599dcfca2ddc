// Small random models and batches for the growth tests.
#pragma once

#include <string>

#include "core/contracts/batch_source.h"
#include "core/model/checkpoint.h"

namespace growmerge::testing {

struct Shape {
  std::int64_t heads = 4;
  std::int64_t kv_heads = 2;
  bool tied = true;
  std::int64_t layers = 2;
  std::int64_t ffn = 40;
  std::int64_t vocab = 61;
};

[[nodiscard]] ModelConfig small_config(const Shape& shape);
/// Weights large enough that every tensor matters to the logits, and norm gains that are not one;
/// float64 holding float32 values, as a model that was read from a file.
[[nodiscard]] Model random_model(const Shape& shape, std::uint64_t seed);
/// Rows of random tokens, each row one segment, next-token targets.
[[nodiscard]] Batch random_batch(std::int64_t rows, std::int64_t row_tokens, std::int64_t vocab,
                                 std::uint64_t seed);
/// All logits of a batch [N, V], in float64.
[[nodiscard]] at::Tensor batch_logits(const Model& model, const Batch& batch);
/// Root mean square of all elements.
[[nodiscard]] double rms(const at::Tensor& tensor);
[[nodiscard]] double max_abs_difference(const at::Tensor& a, const at::Tensor& b);

}  // namespace growmerge::testing
