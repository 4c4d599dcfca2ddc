// Causal grouped-query attention inside packed segments: out = softmax(scale q k^T) v over the keys
// of the same segment at or before the query; where there is a window (arXiv 2004.05150), over the
// last `window` of them; where there is a soft cap (arXiv 2408.00118), scores are c tanh(score /
// c).
//
// Method: Dao et al. 2022, "FlashAttention", arXiv 2205.14135: blocks of scores with a running
// maximum; scores are never stored; backward makes them again from the log-sum-exp. One
// task per (segment, key-value head); tasks are handed out longest first, and each writes only its
// own outputs, so results do not depend on threads at all.
//
// Symbols: N positions, H query heads, K key-value heads (H a multiple of K), h head_dim. q, out
// [N, H h]; k, v [N, K h]; lse [H, N] in the type of sums (legend: kernels/kernels.h). Arithmetic
// in the type of sums; products of bfloat16 take P and dS rounded where there is AVX512-BF16.
// Memory: per thread 2 (forward) or 4 (backward) copies of one segment's keys of one head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace growmerge::ops {

struct AttentionShape {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  double scale = 0.0;       // of scores; 0: 1 / sqrt(head_dim)
  double soft_cap = 0.0;    // 0: none
  std::int64_t window = 0;  // keys that a query sees, itself among them; 0: all before it

  [[nodiscard]] double score_scale() const;
};

/// What precedes each segment in its sequence: positions rows[starts[s]] .. rows[starts[s + 1] - 1]
/// of the same batch, in order. Sequences that begin alike so compute their beginning once.
struct Prefixes {
  std::vector<std::int32_t> rows;
  std::vector<std::int64_t> starts = {0};  // [segments + 1]

  [[nodiscard]] std::span<const std::int32_t> of(std::size_t segment) const {
    return std::span(rows).subspan(static_cast<std::size_t>(starts[segment]),
                                   static_cast<std::size_t>(starts[segment + 1] - starts[segment]));
  }
};

/// Runs of positions that see each other, where the tensors lie: the CPU reads `starts`, CUDA reads
/// `device_starts` and `longest`, and never the device from the host.
struct Segments {
  std::span<const std::int32_t> starts;  // as in Batch: ascending from 0 to N
  /// CUDA: the same, int32 [S + 1] on the device. It may end in N several times over (empty
  /// segments), so that its length need not change from batch to batch; every segment costs the
  /// backward pass in bfloat16 128 rows of float32 scratch.
  at::Tensor device_starts = {};
  std::int64_t longest = 0;  // CUDA: no segment is longer
};

/// An undefined lse is not written. With `prefixes` (CPU only: kUnsupported on CUDA) the keys of a
/// segment are those of its prefix, then its own.
void attention_forward(const AttentionShape& shape, const Segments& segments,
                       const at::Tensor& q_NHh, const at::Tensor& k_NKh, const at::Tensor& v_NKh,
                       const at::Tensor& out_NHh, const at::Tensor& lse_HN,
                       const Prefixes* prefixes = nullptr);

/// dq, dk, dv are overwritten. Each may be the tensor that it is the gradient of (dq_NHh may be
/// q_NHh): then the gradient stands where the input stood.
void attention_backward(const AttentionShape& shape, const Segments& segments,
                        const at::Tensor& q_NHh, const at::Tensor& k_NKh, const at::Tensor& v_NKh,
                        const at::Tensor& out_NHh, const at::Tensor& lse_HN,
                        const at::Tensor& dout_NHh, const at::Tensor& dq_NHh,
                        const at::Tensor& dk_NKh, const at::Tensor& dv_NKh);

/// M queries that are the last positions of the first `num_keys` rows of a cache of N rows.
void attention_cached(const AttentionShape& shape, std::int64_t num_keys, const at::Tensor& q_MHh,
                      const at::Tensor& k_NKh, const at::Tensor& v_NKh, const at::Tensor& out_MHh);

/// Bytes of scratch of one backward pass with `threads` threads.
[[nodiscard]] std::int64_t attention_scratch_bytes(std::int64_t longest_segment,
                                                   std::int64_t head_dim, std::int64_t threads,
                                                   at::ScalarType dtype);

}  // namespace growmerge::ops
