// The inner loops of core/ops, compiled once per instruction set and chosen at run time.
//
// Every source in this folder is compiled as baseline, AVX2, AVX-512 and AVX512-BF16 code with
// GM_ISA naming the set; each fills its part of a KernelSet. They include nothing but <cstdint>,
// intrinsics (which are always inlined) and their own headers and keep every function in an unnamed
// namespace, so that no inline function compiled for a newer processor can be picked by the linker
// for an older one.
//
// Legend of all of core/ops (files name those that they use):
//   N  positions of a batch, rows packed      H  query heads
//   C  positions of a chunk of a batch        K  key-value heads (H is a multiple of K)
//   R  rows (sequences) of a batch            h  elements of a head; H h and K h: heads behind
//   D  elements of a hidden state                one another in one dimension
//   F  elements of an MLP's hidden state      V  vocabulary
//   I  inputs and O outputs of a product      J  tiles of the vocabulary, T columns of one tile
//   M  queries at the end of a cache          P  positions that a table of angles holds
// A suffix lists a tensor's dimensions, outermost first: x_ND is [N, D], q_NHh [N, H h]. The same
// name without it is the pointer to its elements. a_to_b_ND holds a when a function is called and b
// when it returns: one buffer, two tensors. A function whose name ends in _ changes its arguments.
//
// Kernels take pointers and extents (rows, d, n), and say how they belong together: x [rows, d].
// T is the element type, Acc<T> that of statistics and sums (float for bf16, else T). Rows are
// contiguous unless a stride is named; sizes and strides are in elements.
#pragma once

#include <cstdint>

namespace growmerge::ops {

/// bfloat16: the upper half of a float32. A type of its own, so that no arithmetic happens to it.
struct Bf16 {
  std::uint16_t bits;
};

template <class T>
struct AccOf {
  using type = T;
};
template <>
struct AccOf<Bf16> {
  using type = float;
};
template <class T>
using Acc = typename AccOf<T>::type;

using Index = std::int64_t;

/// e^-60: of factors that a gradient is divided by (ops/cross_entropy.h).
constexpr double kSmallestFactor = 8.75651076269652e-27;

/// One segment of one group of query heads that share a key-value head; see ops/attention.h.
template <class T>
struct AttentionTask {
  const T* q = nullptr;  // [q_len] rows of q_stride; head g of the group at + g * head_dim
  const T* k = nullptr;  // [k_len] rows of kv_stride
  const T* v = nullptr;
  T* out = nullptr;         // like q
  Acc<T>* lse = nullptr;    // [group] rows of lse_stride: log-sum-exp of each query's scores
  const T* dout = nullptr;  // backward only: like q
  T* dq = nullptr;          // like q
  T* dk = nullptr;          // like k
  T* dv = nullptr;
  // Forward only: the first prefix_len keys are rows prefix_rows[j] of these instead, and k and v
  // hold those behind them.
  const T* prefix_k = nullptr;
  const T* prefix_v = nullptr;
  const std::int32_t* prefix_rows = nullptr;
  Index prefix_len = 0;
  Index q_stride = 0, kv_stride = 0, lse_stride = 0;
  Index q_len = 0;  // the last q_len positions of the k_len keys
  Index k_len = 0;
  Index head_dim = 0, group = 1;
  double scale = 1.0;         // of q k^T
  double soft_cap = 0.0;      // scores become soft_cap tanh(score / soft_cap); 0: they stay
  Index window = 0;           // a query sees the `window` keys up to its own; 0: all of them
  Acc<T>* scratch = nullptr;  // attention_scratch() elements, 64-byte aligned
};

/// Keys are handled in blocks of this many, queries in blocks of at most so many (two vectors of
/// AVX-512): a tile of scores in float32 is 8 kB at most, so the tiles of a block fit a first
/// cache.
constexpr Index kAttentionBlock = 64;
constexpr Index kAttentionQueries = 32;
/// Elements of scratch that one attention task needs: copies of all keys and values, in backward
/// their gradients as well; the tiles (P, dS and their rounded forms; q, out and so on of one block
/// of queries; four numbers a query).
[[nodiscard]] constexpr Index attention_scratch(Index k_len, Index head_dim, bool backward) {
  const Index tiles = kAttentionQueries * (4 * kAttentionBlock + 5 * head_dim + 4);
  return (backward ? 4 : 2) * k_len * head_dim + tiles;
}

/// C (+)= diag(row_scale) A diag(b_row_scale) B on one thread; m, n, k > 0. A [m, k] and B [k, n]
/// by any strides, one of each pair being 1 (b_col where B's rows are scaled); C has rows c_row
/// apart. Sums in float32, each in one order of k whatever m and n are, so a result's bits do not
/// depend on how a product is cut into rows and columns.
template <class T>
struct GemmTask {
  Index m = 0, n = 0, k = 0;
  const T* a = nullptr;
  Index a_row = 0, a_col = 1;
  const T* b = nullptr;
  Index b_row = 0, b_col = 1;
  T* c = nullptr;         // either c, rounded once,
  Acc<T>* sum = nullptr;  // or the type of sums
  Index c_row = 0;
  bool accumulate = false;
  const Acc<T>* row_scale = nullptr;    // [m]
  const Acc<T>* b_row_scale = nullptr;  // [k]: B's rows are multiplied by these and rounded to T
  void* scratch = nullptr;              // gemm_scratch_bytes(), 64-byte aligned
};

/// A panel of B, [384][32] units of 4 bytes, is 48 kB at most (K is cut evenly, so it is often
/// less): about a first cache, as 8 rows of A after 8 pass over it. A block of B is 512 kB at most:
/// about a second one, as 64 rows after 64 do.
constexpr Index kGemmDepth = 384;         // of K at a time, at most, in units of 4 bytes
constexpr Index kGemmRows = 64;           // of A at a time, and
constexpr Index kGemmBlock = 128 * 1024;  // of B, in units
/// `whole`: the result is rounded to less than the type of sums, once, so K is not cut.
[[nodiscard]] constexpr Index gemm_scratch_bytes(Index k, bool whole) {
  const Index depth = whole && k > kGemmDepth ? k : kGemmDepth;
  const Index panel = 32 * depth;
  return 4 * (kGemmRows * depth + (panel < kGemmBlock ? kGemmBlock : panel));
}

template <class T>
struct Kernels {
  void (*gemm)(const GemmTask<T>& task) = nullptr;  // null where there is none for T
  /// x, delta, sum, y [rows, d]; gain [d], to which `offset` is added; rstd [rows]. A null delta
  /// leaves sum as it is.
  void (*add_rms_norm)(Index rows, Index d, const T* x, const T* delta, const T* gain,
                       double offset, double eps, T* sum, T* y, Acc<T>* rstd);
  void (*apply_rms_norm)(Index rows, Index d, const T* x, const T* gain, double offset,
                         const Acc<T>* rstd, T* y);
  /// dy, x [rows, d]; gain [d]; rstd [rows]; added to: dx [rows, d], dgain [d].
  void (*rms_norm_backward)(Index rows, Index d, const T* dy, const T* x, const T* gain,
                            double offset, const Acc<T>* rstd, T* dx, Acc<T>* dgain);
  /// Rotates the first 2 `pairs` elements of `heads` heads of each row in place; sign -1 is the
  /// inverse. x [rows, heads head_dim]; cos, sin [P, pairs]; positions [rows], each below P.
  void (*rope)(Index rows, Index heads, Index head_dim, Index pairs, const float* cos,
               const float* sin, const std::int32_t* positions, double sign, T* x);
  /// By activation: 0 silu, 1 gelu, 2 gelu_tanh. All arrays [n].
  void (*gated_forward[3])(Index n, const T* gate, const T* up, T* out);
  void (*gated_backward[3])(Index n, T* gate_to_dgate, T* up_to_dup, T* dout_to_out);
  void (*attention_forward)(const AttentionTask<T>& task);
  void (*attention_backward)(const AttentionTask<T>& task);
  /// One row [width] of a tile of logits, which become exp(l - max); at_target takes the logit
  /// `target`, where that is in [0, width). max, sum and at_target are one element each.
  void (*softmax_tile_row)(Index width, T* logits_to_exps, Index target, Acc<T>* max, Acc<T>* sum,
                           Acc<T>* at_target);
  /// One row, logits [v]: log-probability of `target`, and whether it is the (first) arg max;
  /// `greedy` may be null.
  Acc<T> (*log_prob_row)(Index v, const T* logits, Index target, bool* greedy);
  /// sum += x, both [n].
  void (*accumulate)(Index n, const T* x, Acc<T>* sum);
  /// y_i = scale_i x_i and sum_i += scale_i x_i: x, y, sum [rows, d]; scale [rows].
  void (*scale_rows)(Index rows, Index d, const T* x, const Acc<T>* scale, T* y);
  void (*add_scaled_rows)(Index rows, Index d, const T* x, const Acc<T>* scale, Acc<T>* sum);
};

struct KernelSet {
  const char* isa = "";
  Kernels<float> f32{};
  Kernels<double> f64{};
  Kernels<Bf16> bf16{};
};

/// The set for this processor. Never changes within a process.
[[nodiscard]] const KernelSet& kernel_set();

template <class T>
[[nodiscard]] const Kernels<T>& kernels();
template <>
inline const Kernels<float>& kernels<float>() {
  return kernel_set().f32;
}
template <>
inline const Kernels<double>& kernels<double>() {
  return kernel_set().f64;
}
template <>
inline const Kernels<Bf16>& kernels<Bf16>() {
  return kernel_set().bf16;
}

#define GM_DECLARE_KERNELS(isa)            \
  namespace isa {                          \
  void fill_gemm(KernelSet& set);          \
  void fill_rms_norm(KernelSet& set);      \
  void fill_rope(KernelSet& set);          \
  void fill_gated_mlp(KernelSet& set);     \
  void fill_attention(KernelSet& set);     \
  void fill_cross_entropy(KernelSet& set); \
  }
GM_DECLARE_KERNELS(baseline)
GM_DECLARE_KERNELS(avx2)
GM_DECLARE_KERNELS(avx512)
GM_DECLARE_KERNELS(avx512bf16)
#undef GM_DECLARE_KERNELS

}  // namespace growmerge::ops
