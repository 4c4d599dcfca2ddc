// The CUDA kernels behind core/ops/*.h on plain device pointers: what the .cu files beside the CPU
// operators define for float, double and Bf16, and what core/ops/cuda/*.cpp calls. No torch, no
// CUDA types.
//
// All enqueue on `stream` and return; definitions and symbols are those of core/ops/*.h (legend:
// core/ops/kernels/kernels.h). Shapes stand beside the pointers, in a struct's own extents.
// Every sum has a fixed order, and none is made by atomic additions: the same inputs give the same
// bits. Errors: kInternal when a launch fails.
#pragma once

#include "core/ops/kernels/kernels.h"

namespace growmerge::ops::cuda {

using Stream = void*;  // a cudaStream_t

constexpr std::int64_t kIgnoredTarget = -100;  // Batch::kIgnoredTarget, whose header needs torch

// --- rms_norm.cu ---

constexpr Index kRmsNormMost = 16384;  // elements a row (kUnsupported above)

template <class T>
struct AddRmsNorm {
  Index rows = 0, d = 0;
  const T* x = nullptr;      // [rows, d]
  const T* delta = nullptr;  // [rows, d]; may be null: then sum is not written
  const T* gain = nullptr;   // [d]
  double offset = 0.0;       // added to the gain
  double eps = 0.0;
  T* sum = nullptr;        // [rows, d]; may be x
  T* y = nullptr;          // [rows, d]
  Acc<T>* rstd = nullptr;  // [rows]
};
template <class T>
void add_rms_norm(const AddRmsNorm<T>& a, Stream stream);

template <class T>
struct ApplyRmsNorm {
  Index rows = 0, d = 0;
  const T* x = nullptr;          // [rows, d]
  const T* gain = nullptr;       // [d]
  double offset = 0.0;           // added to the gain
  const Acc<T>* rstd = nullptr;  // [rows]
  T* y = nullptr;                // [rows, d]
};
template <class T>
void apply_rms_norm(const ApplyRmsNorm<T>& a, Stream stream);

template <class T>
struct RmsNormBackward {
  Index rows = 0, d = 0;
  const T* dy = nullptr;         // [rows, d]
  const T* x = nullptr;          // [rows, d]
  const T* gain = nullptr;       // [d]
  double offset = 0.0;           // added to the gain
  const Acc<T>* rstd = nullptr;  // [rows]
  T* dx = nullptr;               // [rows, d], added to
  Acc<T>* dgain = nullptr;       // [d], added to
  Acc<T>* partial = nullptr;     // scratch [rms_norm_parts(rows), d]
};
/// How many parts the rows are cut into, each of which sums dgain by itself.
[[nodiscard]] Index rms_norm_parts(Index rows);
template <class T>
void rms_norm_backward(const RmsNormBackward<T>& a, Stream stream);

// --- rope.cu ---

template <class T>
struct Rope {
  Index rows = 0, heads = 0, head_dim = 0;
  Index pairs = 0;                          // the first 2 pairs elements of a head turn
  const float* cos = nullptr;               // [P, pairs]
  const float* sin = nullptr;               // [P, pairs]
  const std::int32_t* positions = nullptr;  // [rows], each below P
  bool inverse = false;
  T* x = nullptr;  // [rows, heads head_dim], in place
};
template <class T>
void rope(const Rope<T>& a, Stream stream);

// --- gated_mlp.cu; activation: 0 silu, 1 gelu, 2 gelu_tanh ---

template <class T>
struct GatedForward {
  int activation = 0;
  Index n = 0;
  const T* gate = nullptr;  // [n]
  const T* up = nullptr;    // [n]
  T* out = nullptr;         // [n]
};
template <class T>
void gated_forward(const GatedForward<T>& a, Stream stream);

template <class T>
struct GatedBackward {
  int activation = 0;
  Index n = 0;
  T* gate_to_dgate = nullptr;  // [n]
  T* up_to_dup = nullptr;      // [n]
  T* dout_to_out = nullptr;    // [n]
};
template <class T>
void gated_backward(const GatedBackward<T>& a, Stream stream);

// --- cross_entropy.cu ---

template <class T>
struct SoftmaxTile {
  Index rows = 0, width = 0, first = 0;   // first: the tile's first column of the vocabulary
  T* logits_to_exps = nullptr;            // [rows, width]
  const std::int64_t* targets = nullptr;  // [rows]
  Acc<T>* max = nullptr;                  // [rows]
  Acc<T>* sum = nullptr;                  // [rows]
  Acc<T>* at_target = nullptr;            // [rows]
};
template <class T>
void softmax_tile(const SoftmaxTile<T>& a, Stream stream);

template <class A>
struct CombineTiles {
  Index tiles = 0, rows = 0;
  A* max_to_factor = nullptr;             // [tiles, rows]
  const A* sum = nullptr;                 // [tiles, rows]
  const A* at_target = nullptr;           // [rows]
  const std::int64_t* targets = nullptr;  // [rows]
  A* nll = nullptr;                       // [rows]
};
template <class A>
void combine_tiles(const CombineTiles<A>& a, Stream stream);

template <class T>
struct SubtractTargets {
  Index rows = 0, width = 0, first = 0;   // first: the tile's first column of the vocabulary
  T* exps_to_grads = nullptr;             // [rows, width]
  const std::int64_t* targets = nullptr;  // [rows]
  const Acc<T>* nll = nullptr;            // [rows]
  const Acc<T>* slope = nullptr;          // [rows]; may be null
  Acc<T>* factor = nullptr;               // [rows]
};
template <class T>
void subtract_targets(const SubtractTargets<T>& a, Stream stream);

template <class T>
struct LogProbs {
  Index rows = 0, width = 0;
  const T* logits = nullptr;              // [rows, width]
  const std::int64_t* targets = nullptr;  // [rows]
  Acc<T>* log_prob = nullptr;             // [rows]
  bool* greedy = nullptr;                 // [rows]; may be null
};
template <class T>
void log_probs(const LogProbs<T>& a, Stream stream);

template <class T>
struct ScaleRows {
  Index rows = 0, d = 0;
  const T* x = nullptr;           // [rows, d]
  const Acc<T>* scale = nullptr;  // [rows]
  T* y = nullptr;                 // scale_rows(): [rows, d]; may be x
  Acc<T>* sum = nullptr;          // add_scaled_rows(): [rows, d], added to
};
template <class T>
void scale_rows(const ScaleRows<T>& a, Stream stream);
template <class T>
void add_scaled_rows(const ScaleRows<T>& a, Stream stream);

// --- embedding.cu ---

template <class T>
struct EmbeddingForward {
  Index n = 0, d = 0;
  const std::int64_t* tokens = nullptr;  // [n], each a row of table
  const T* table = nullptr;              // [V, d]
  T* x = nullptr;                        // [n, d]
};
template <class T>
void embedding_forward(const EmbeddingForward<T>& a, Stream stream);

/// What the gradient sorts by: the token, or `vocab` where that is negative, so that what is
/// ignored comes last; and 0, 1, 2, ... tokens, keys, positions [n].
void embedding_keys(Index n, std::int32_t vocab, const std::int64_t* tokens, std::int32_t* keys,
                    std::int32_t* positions, Stream stream);

template <class T>
struct EmbeddingBackward {
  Index n = 0, d = 0;
  std::int32_t vocab = 0;
  const std::int32_t* keys = nullptr;       // [n], ascending
  const std::int32_t* positions = nullptr;  // [n], ascending where keys are equal
  const T* dx = nullptr;                    // [n, d]
  Acc<T>* dtable = nullptr;                 // [vocab, d], added to
};
template <class T>
void embedding_backward(const EmbeddingBackward<T>& a, Stream stream);

// --- attention.cu: any dtype, head_dim at most kAttentionMost ---

constexpr Index kAttentionMost = 512;

template <class T>
struct Attention {
  Index n = 0;         // queries
  Index num_keys = 0;  // n in segments; queries are the last n positions of them otherwise
  Index heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 1.0;
  double soft_cap = 0.0;  // scores become soft_cap tanh(score / soft_cap); 0: they stay
  Index window = 0;       // keys that a query sees, its own among them; 0: all before it
  const std::int32_t* starts = nullptr;  // [segments + 1]; null: all keys are one segment
  Index segments = 0;
  const T* q = nullptr;   // [n, heads head_dim]
  const T* k = nullptr;   // [num_keys, kv_heads head_dim]
  const T* v = nullptr;   // like k
  T* out = nullptr;       // like q
  Acc<T>* lse = nullptr;  // [heads, n]; forward: may be null
  // Backward. dq may be q; dk and dv are no tensors that are read.
  const T* dout = nullptr;  // like q
  Acc<T>* delta = nullptr;  // scratch [heads, n]
  T* dq = nullptr;          // like q
  T* dk = nullptr;          // like k
  T* dv = nullptr;          // like k
};
template <class T>
void attention_forward(const Attention<T>& a, Stream stream);
template <class T>
void attention_backward(const Attention<T>& a, Stream stream);

// --- row_losses.cu ---

template <class A>
struct RowLosses {
  Index rows = 0, row_tokens = 0;
  const A* nll = nullptr;                 // [rows, row_tokens]
  const std::int64_t* targets = nullptr;  // [rows, row_tokens]
  double* loss_sum = nullptr;             // [rows]
  std::int64_t* num_targets = nullptr;    // [rows]
};
template <class A>
void row_losses(const RowLosses<A>& a, Stream stream);

// --- core/ops/adamw.cu ---

/// Pieces of this many elements are one block's work and, in squared norms, one sum.
constexpr Index kAdamWPiece = 1 << 15;
constexpr int kAdamWMost = 64;  // tensors a launch

/// Some tensors of one launch, cut into pieces: those of tensor t begin at piece first[t]. The
/// lists travel as the kernel's argument (4 kB at most), so nothing has to be copied to the device
/// first.
template <class T>
struct AdamWTensors {
  int count = 0;
  int pieces = 0;
  int first[kAdamWMost];
  Index n[kAdamWMost];
  const T* grad[kAdamWMost];  // all pointers of tensor t: [n[t]]
  // squared_norm_pieces() needs no more.
  T* param[kAdamWMost];
  T* m[kAdamWMost];
  T* v[kAdamWMost];
  Bf16* copy[kAdamWMost];  // null: none
  bool decayed[kAdamWMost];

  /// Takes the next place; n, grad and the rest are the caller's to fill.
  int add(Index elements) {
    const int t = count++;
    first[t] = pieces;
    n[t] = elements;
    pieces += static_cast<int>((elements + kAdamWPiece - 1) / kAdamWPiece);
    return t;
  }
};

struct AdamWConstants {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.0;
};

/// `schedule` and `factors` as AdamWSchedule and AdamWFactors (core/ops/adamw_factors.h) order
/// them; the other three are one number each.
void adamw_factors(const double* schedule, const double* squared_norm, const double* loss_sum,
                   const double* num_targets, double* factors, Stream stream);
template <class T>
void adamw_step(const AdamWTensors<T>& tensors, const AdamWConstants& constants,
                const double* factors, Stream stream);
/// sums[i] becomes the sum of squares of piece i; sums [tensors.pieces].
template <class T>
void squared_norm_pieces(const AdamWTensors<T>& tensors, double* sums, Stream stream);
/// total becomes the sum of sums [pieces].
void sum_pieces(Index pieces, const double* sums, double* total, Stream stream);

}  // namespace growmerge::ops::cuda
