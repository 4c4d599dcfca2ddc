// The forward pass of a model that is too large to hold: its layers come one after another, when
// they are due.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "core/model/model_source.h"
#include "core/store/param_map.h"

namespace growmerge {

struct StreamedPass {
  at::Tensor hidden;  // as of hidden_states(), [N, d]
  ParamMap outer;     // the tensors outside the layers, for head_logits()
};

/// hidden_states() computed in `dtype`. All sequences go through a layer while it is there. Memory:
/// the outer tensors and one layer in `dtype`, one tensor as it is loaded, and the activations of
/// inference. Errors: those of hidden_states() and of model.load.
[[nodiscard]] StreamedPass streamed_hidden_states(const ModelSource& model, at::ScalarType dtype,
                                                  const at::Tensor& tokens,
                                                  std::span<const std::int32_t> segment_starts);

/// Bytes of the outer tensors, one layer and the largest tensor as it is loaded.
[[nodiscard]] std::int64_t streamed_bytes(const ModelConfig& config, at::ScalarType dtype,
                                          at::ScalarType loaded);

}  // namespace growmerge
