// The Llama forward pass, its loss and its gradients, as free functions over a ParamMap.
//
// Definition (Hugging Face Llama): x = E[t]; per layer x += o(attention(rope(q(n1(x))),
// rope(k(n1(x))), v(n1(x)))), x += down(act(gate(n2(x))) * up(n2(x))); logits = head(nf(x)).
// RMSNorm n(x) = g * x / sqrt(mean(x^2) + eps) with statistics in fp32; rotate-half RoPE; softmax
// scale 1/sqrt(h); the head is E when tied (divided by lm_head_normalization_factor).
//
// Backward is written by hand: gradients of a layer are final, and reported, before the layer below
// starts. The head works on chunks of tokens, so the logits of a batch never exist; its gradient is
// made in place of the logits.
//
// Dtypes: parameters in float64, float32 or bfloat16 decide the compute dtype (norm, softmax and
// loss arithmetic are at least float32); gradients accumulate into the tensors given, float32 (or
// float64 for float64 parameters). Under bfloat16 a weight gradient's product is summed and added
// in float32; where products are the library's (ops/linear.h), it is rounded to bfloat16 between,
// once a batch for each matrix, once a tile of a chunk for the head. Determinism: the same inputs
// and number of threads give the same bits.
//
// Devices: a pass computes where the parameters lie; batches come from host memory. On CUDA,
// training and forward_loss alone; the head takes larger chunks there.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/contracts/batch_source.h"
#include "core/model/model_config.h"
#include "core/ops/attention.h"
#include "core/store/param_map.h"

namespace growmerge {

struct LossResult {
  double loss_sum = 0.0;  // sum of NLL over scored targets, nats
  std::int64_t num_targets = 0;
  std::vector<double> row_loss_sum;           // [B] the same per row
  std::vector<std::int64_t> row_num_targets;  // [B]
};

/// The same where the parameters are, which on CUDA may still be computing it.
struct RowLosses {
  at::Tensor loss_sum;                    // float64 [B], nats; until the workspace's next call
  std::vector<std::int64_t> num_targets;  // [B]
};

/// Buffers that calls keep from one to the next, so that a training loop allocates once. One per
/// thread of callers: a call uses it alone. Growing shapes reallocate; a smaller batch of the same
/// model and dtype than before uses a part of what is there.
class Workspace {
 public:
  /// `head_chunk_rows`: positions whose logits exist at a time; 0 takes about 200 MB of logits.
  explicit Workspace(std::int64_t head_chunk_rows = 0);
  ~Workspace();
  Workspace(Workspace&&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;
  /// On CUDA: record the forward and backward pass of a batch shape when it comes the second time
  /// with the same parameters and gradients, and replay it from then on (a CUDA graph), where
  /// nobody asks to be told of single gradients. The same bits. Off at first.
  void record_graphs(bool on);
  /// Bytes held now.
  [[nodiscard]] std::int64_t bytes() const;
  /// Gives everything back.
  void release();

  struct Impl;
  [[nodiscard]] Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Called as soon as a tensor's gradient is final in this backward pass, in backward order (head
/// and final norm first, embedding last; a tied embedding is reported once, last).
using GradReady = std::function<void(const std::string& name)>;

/// Adds d(loss_sum * gradient_scale)/d(param) to `grads` (same names and shapes as `params`) and
/// returns the losses. Memory: activations of one batch (about (10 d + 3 F) * N * L elements) plus
/// one chunk of logits, held by `workspace` where one is given (a training loop keeps one and
/// passes it to every call) and freed at the end otherwise. grads are float32 (float64 for float64
/// parameters). Errors: kMismatch (token id >= V, shapes, dtypes); never checks for NaN: the caller
/// does, on the loss and gradient norm. `grad_ready` may be empty.
LossResult loss_and_gradients(const ModelConfig& config, const ParamMap& params, const Batch& batch,
                              double gradient_scale, const ParamMap& grads,
                              const GradReady& grad_ready, Workspace* workspace = nullptr);

/// The same, without waiting for the device: on CUDA everything is queued when it returns. Token
/// ids are checked on the host before that.
[[nodiscard]] RowLosses row_losses_and_gradients(const ModelConfig& config, const ParamMap& params,
                                                 const Batch& batch, double gradient_scale,
                                                 const ParamMap& grads, const GradReady& grad_ready,
                                                 Workspace* workspace = nullptr);

/// Losses alone, with no activations kept.
[[nodiscard]] LossResult forward_loss(const ModelConfig& config, const ParamMap& params,
                                      const Batch& batch, Workspace* workspace = nullptr);

/// The final hidden states (after the last norm), [N, d], of segments packed one behind another. N
/// = tokens.numel(), segment_starts as in Batch. With `prefixes` a segment continues the positions
/// that they name for it (earlier ones of this batch), in place and in attention.
[[nodiscard]] at::Tensor hidden_states(const ModelConfig& config, const ParamMap& params,
                                       const at::Tensor& tokens,
                                       std::span<const std::int32_t> segment_starts,
                                       Workspace* workspace = nullptr,
                                       const ops::Prefixes* prefixes = nullptr);
/// Logits of some hidden states, [M, V], float32 (float64 for float64 parameters).
[[nodiscard]] at::Tensor head_logits(const ModelConfig& config, const ParamMap& params,
                                     const at::Tensor& hidden_MD);
/// log p(targets[i] | hidden[i]) by fp32 log-softmax, [M] float32 (float64 for float64), computed
/// in chunks of rows so that memory stays bounded; `is_greedy`, where given, becomes [M] bool: is
/// the target the (first) arg max.
[[nodiscard]] at::Tensor target_log_probs(const ModelConfig& config, const ParamMap& params,
                                          const at::Tensor& hidden_MD, const at::Tensor& targets_M,
                                          at::Tensor* is_greedy = nullptr,
                                          Workspace* workspace = nullptr);

/// Token-by-token inference with a key-value cache, for sampling. Shares the parameters it is
/// given.
class Decoder {
 public:
  Decoder(const ModelConfig& config, const ParamMap& params, std::int64_t max_tokens);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  /// Feeds tokens after what was fed before; returns the logits after the last one, [V] float32.
  /// Errors: kInvalidArgument when max_tokens is exceeded.
  [[nodiscard]] at::Tensor feed(std::span<const std::int32_t> tokens);
  void reset();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What a process keeps resident before it holds a model: the program and its libraries.
inline constexpr std::int64_t kProcessBytes = 150'000'000;

/// Peak bytes that loss_and_gradients needs for activations, logit chunks and what operators take
/// on the way (parameters and gradients not included), on the device.
[[nodiscard]] std::int64_t activation_bytes(const ModelConfig& config, std::int64_t num_positions,
                                            at::ScalarType dtype, at::DeviceType device = at::kCPU);
/// The same of hidden_states and target_log_probs.
[[nodiscard]] std::int64_t inference_bytes(const ModelConfig& config, std::int64_t num_positions,
                                           at::ScalarType dtype);

}  // namespace growmerge
