// HyperCloning: a wider model that computes the same function.
//
// Source: Samragh et al. 2024, "Scaling Smart: Accelerating Large Language Model Pre-training with
// Small Model Initialization", arXiv 2409.12903 (symmetric form, with or without noise).
// Width grows by an integer factor n in residual, heads, KV heads and FFN together; head_dim,
// layers, vocabulary and RoPE stay. Each tensor is repeated in whole blocks along its axes
// (core/model/tensor_table.h) and divided by the copies of its input dimension:
//   E: tile(1, n)   gains: tile(n)   matrices: tile(n_out, n_in) / n_in   untied head: tile(1, n)/n
// Deviations:
// - A tied head is the embedding, which must not be divided; the final norm's gain is divided by n
//   instead. The result is a plain LlamaForCausalLM that stock Transformers loads.
// - HyperLlama's lm_head_normalization_factor f is folded likewise: gain / (n f) when tied, head /
//   (n f) when not; the grown model is a LlamaForCausalLM with factor 1.
// - Noise is zero-sum for any n: per row block (and head, in q, k and v) normal N_1 .. N_n are
//   drawn, one per column block, their mean is subtracted, and they are scaled so that
//   10 log10(power of W / n : power of N) is snr_db exactly, power being the mean square over the
//   n column blocks together. The paper's code pairs blocks (+N, -N), which is the case n = 2.
//   Row blocks get different numbers. Embedding, norms and head get none.
// Arithmetic is float64, rounded once. With noise the last column block is what the others leave
// after rounding, so that the sum over column blocks is the source's weight to 1 ulp of the blocks.
// Deterministic: a pure function of (source, config), whatever the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/model/checkpoint.h"
#include "upscaling/axis.h"

namespace growmerge::upscaling {

struct HypercloningConfig {
  std::int64_t width_factor = 2;
  std::string noise = "zero_sum";
  double snr_db = 10.0;
  std::int64_t seed = 0;

  void describe(FieldVisitor& v) {
    v("width_factor", width_factor, "",
      "residual width, heads, KV heads and FFN are multiplied by this whole number");
    v("noise", noise, "",
      "zero_sum (breaks the symmetry of the copies, keeps the function) or none (the paper's "
      "form: copies stay equal under deterministic training)");
    v("snr_db", snr_db, "dB", "power of the weights over power of the noise");
    v("seed", seed, "", "of the noise");
  }
  /// Errors: kInvalidArgument.
  void validate() const;
};

/// One growth, as it stands in config.json of the grown model and of all that come from it, under
/// "growmerge_growth": a list of objects with these keys, oldest first.
struct GrowthRecord {
  std::int64_t width_factor = 1;
  std::string noise = "none";
  double snr_db = 0.0;  // 0 without noise
  std::int64_t seed = 0;
  std::string source_identity;  // of the directory it was grown from; empty when in memory
  std::int64_t source_hidden_size = 0;
  std::int64_t source_num_heads = 0;
  std::int64_t source_num_kv_heads = 0;
  std::int64_t source_intermediate_size = 0;
};

/// The numbers of the grown model; its source_json has the record appended. Errors:
/// kInvalidArgument.
[[nodiscard]] ModelConfig grown_config(const ModelConfig& source, const HypercloningConfig& config,
                                       const std::string& source_identity);
/// Errors: kCorrupt when "growmerge_growth" is there and is not such a list.
[[nodiscard]] std::vector<GrowthRecord> growth_records(const ModelConfig& config);

/// One tensor of the grown model, of any floating `dtype`. `weight` is the source's.
/// Memory: two float64 copies of the grown tensor where it gets noise, else of some of its rows.
/// Errors: kUnsupported (unknown name), kMismatch
/// (shape).
[[nodiscard]] at::Tensor grow_tensor(const ModelConfig& source, const HypercloningConfig& config,
                                     const std::string& name, const at::Tensor& weight,
                                     at::ScalarType dtype);

/// The whole model. Errors: as grow_tensor.
[[nodiscard]] Model grow_width(const Model& source, const HypercloningConfig& config,
                               at::ScalarType dtype, const std::string& source_identity = "");

}  // namespace growmerge::upscaling
