// The operators' CUDA twins: a table that libgrowmerge_cuda.so fills (core/transformer/backend.h).
//
// Every function of core/ops/*.h that computes sends CUDA tensors to its entry here, so a forward
// and backward pass is written once. Entries enqueue work on the current stream and return: none of
// them waits for the device, reads it, or needs host memory to outlive the call, so all can be
// captured into a CUDA graph. Tensors are contiguous and on one device; shapes are those of
// core/ops/*.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/ops/adamw.h"
#include "core/ops/adamw_factors.h"
#include "core/ops/attention.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/embedding.h"
#include "core/ops/gated_mlp.h"
#include "core/ops/linear.h"
#include "core/ops/rms_norm.h"
#include "core/ops/rope.h"
#include "core/ops/row_losses.h"
#include "core/store/param_map.h"

namespace growmerge {

struct CudaOps {
  decltype(&ops::add_rms_norm) add_rms_norm = nullptr;
  decltype(&ops::apply_rms_norm) apply_rms_norm = nullptr;
  decltype(&ops::rms_norm_backward) rms_norm_backward = nullptr;
  decltype(&ops::rope_) rope_ = nullptr;
  decltype(&ops::gated_forward) gated_forward = nullptr;
  decltype(&ops::gated_backward_) gated_backward_ = nullptr;
  decltype(&ops::attention_forward) attention_forward = nullptr;
  decltype(&ops::attention_backward) attention_backward = nullptr;
  decltype(&ops::attention_cached) attention_cached = nullptr;
  decltype(&ops::softmax_tile_) softmax_tile_ = nullptr;
  decltype(&ops::combine_tiles_) combine_tiles_ = nullptr;
  decltype(&ops::subtract_targets_) subtract_targets_ = nullptr;
  decltype(&ops::log_probs) log_probs = nullptr;
  decltype(&ops::scale_rows) scale_rows = nullptr;
  decltype(&ops::add_scaled_rows) add_scaled_rows = nullptr;
  decltype(&ops::embedding_forward) embedding_forward = nullptr;
  decltype(&ops::embedding_backward) embedding_backward = nullptr;
  decltype(&ops::linear_forward) linear_forward = nullptr;
  decltype(&ops::linear_backward_input) linear_backward_input = nullptr;
  decltype(&ops::linear_backward_weight) linear_backward_weight = nullptr;
  decltype(&ops::row_losses) row_losses = nullptr;

  /// Sum of squares over all gradients (float32 or float64) to the one element of `sum` (float64);
  /// the order of additions is fixed.
  void (*squared_norm)(const ParamMap& grads, const at::Tensor& sum) = nullptr;
  /// The factors of a step, from the schedule's numbers and from sums over all ranks: the squared
  /// norm of the gradient's sum, the sum of losses and the number of targets, one float64 each.
  void (*adamw_factors)(const at::Tensor& schedule, const at::Tensor& squared_norm,
                        const at::Tensor& loss_sum, const at::Tensor& num_targets,
                        const at::Tensor& factors) = nullptr;
  /// adamw_step_() with its numbers from `factors` (AdamWFactors): where these say so, parameters,
  /// moments and copies stay as they are. Leaves state.step to the host.
  void (*adamw_step)(const ParamMap& params, const ParamMap& grads, const AdamWState& state,
                     const at::Tensor& factors, const AdamWConfig& config,
                     const ParamMap& compute) = nullptr;
};

/// The table of the back end that was opened. Errors: kUnsupported where none is.
[[nodiscard]] const CudaOps& cuda_ops();

}  // namespace growmerge
