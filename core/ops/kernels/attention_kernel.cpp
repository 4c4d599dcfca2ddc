// Causal attention of one segment and one group of heads, in blocks with a running maximum
// (Dao et al. 2022, arXiv 2205.14135). Tiles lie with the queries along the vectors,
// [keys][queries] and [h][queries], so that maxima and sums over keys are vertical and small heads
// fill vectors as large ones do. All tiles are in the type of sums.
//
// Shapes (legend: kernels.h): of a task, q, out, dout, dq [q_len, group, h] in rows of q_stride; k,
// v, dk, dv [k_len, h] in rows of kv_stride; lse [group, q_len] in rows of lse_stride. Tiles are
// cut out of t.scratch, whose size attention_scratch() counts; `queries` is kQueries, `keys` kKeys.
#include "core/ops/kernels/attention_parts.h"
#include "core/ops/kernels/tile_gemm.h"

#if defined(__AVX512BF16__)
#include "core/ops/kernels/attention_pairs.h"
#endif

namespace growmerge::ops {
namespace {

/// C [m, kQueries] (+)= A [m, k] B [k, kQueries]; C and B are tiles, A has any strides.
/// 8 rows of sums by two vectors stay in registers.
template <class A>
GM_INLINE void tile_product(Index m, Index k, const A* a, Index a_row, Index a_col, const A* b,
                            A* c, bool accumulate) {
  constexpr Index width = kQueries<A>;
  constexpr int W = static_cast<int>(width / 2);
  const TileProduct<A> t{m, width, k, a, a_row, a_col, b, width, c, width, accumulate};
  Index i = 0;
  for (; i + 8 <= m; i += 8) {
    micro_tile<A, W, 8, 2>(t, i, 0);
  }
  for (; i + 2 <= m; i += 2) {
    micro_tile<A, W, 2, 2>(t, i, 0);
  }
  for (; i < m; ++i) {
    micro_tile<A, W, 1, 2>(t, i, 0);
  }
}

/// to [rows, h] becomes rows `stride` apart, as the type of sums, one behind another.
template <class T>
void load_rows(const T* from, Index stride, Index rows, Index h, Acc<T>* to) {
  for (Index j = 0; j < rows; ++j) {
#pragma omp simd
    for (Index c = 0; c < h; ++c) {
      to[j * h + c] = load(from[j * stride + c]);
    }
  }
}

/// copy[q][c] = to[c][q] = from[q][c] for q in [0, rows); the rest of `to` [h][queries] is 0, so
/// that queries that are not there give scores of 0 and no NaN. copy [rows, h].
template <class T>
void load_transposed(const T* from, Index stride, Index rows, Index h, Acc<T>* copy, Acc<T>* to) {
  using A = Acc<T>;
  constexpr Index width = kQueries<A>;
  load_rows(from, stride, rows, h, copy);
  if constexpr (sizeof(A) == sizeof(float)) {
    pack<float, width>(h, rows, copy, h, 1, to);
  } else {
    for (Index c = 0; c < h; ++c) {
      for (Index q = 0; q < width; ++q) {
        to[c * width + q] = q < rows ? copy[q * h + c] : A(0);
      }
    }
  }
}

/// Keys or values [k_len, h] of the task's prefix and segment: where they lie, or in `copy` where
/// they are of another type or in two places. Once for all queries of all heads of the group.
template <class T>
Rows<Acc<T>> gather(const AttentionTask<T>& t, const T* own, const T* prefix, Acc<T>* copy) {
  if constexpr (sizeof(T) == sizeof(Acc<T>)) {
    if (t.prefix_len == 0) {
      return {own, t.kv_stride};
    }
  }
  const Index h = t.head_dim;
  for (Index j = 0; j < t.prefix_len; ++j) {
    load_rows(prefix + t.prefix_rows[j] * t.kv_stride, t.kv_stride, 1, h, copy + j * h);
  }
  load_rows(own, t.kv_stride, t.k_len - t.prefix_len, h, copy + t.prefix_len * h);
  return {copy, h};
}

/// Two rows of a tile.
template <class V, class A>
GM_INLINE void put_rows(V first, V second, A* to) {
  store_as(to, first);
  store_as(to + kQueries<A>, second);
}

/// out and lse of a task. Scores of a block of keys turn into exponentials in place; what came
/// before is scaled when a larger maximum comes (softmax_block), so that keys are passed once.
template <class T>
void attention_forward(const AttentionTask<T>& t) {
  using A = Acc<T>;
  constexpr Index width = kQueries<A>;
  const Index h = t.head_dim;
  A* q = t.scratch;                       // [h][queries]
  A* out = q + width * h;                 // [h][queries]; first the rows of q, [queries][h]
  A* scores_to_p = out + width * h;       // [keys][queries]
  A* high = scores_to_p + kKeys * width;  // [queries]: maximum so far
  A* total = high + width;                // [queries]: sum of exponentials so far
  A* copies = total + width;              // [2][k_len][h], where gather() needs them
  const Rows<A> k = gather(t, t.k, t.prefix_k, copies);
  const Rows<A> v = gather(t, t.v, t.prefix_v, copies + t.k_len * h);
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += width) {
      const Index rows = begin + width < t.q_len ? width : t.q_len - begin;
      const Index first = t.k_len - t.q_len + begin;  // the first query's position
      // `out` is free until it is set to 0 below.
      load_transposed(t.q + begin * t.q_stride + g * h, t.q_stride, rows, h, out, q);
      for (Index i = 0; i < width; ++i) {
        high[i] = kNothing<A>;
        total[i] = 0;
      }
      for (Index i = 0; i < width * h; ++i) {
        out[i] = 0;
      }
      // Causal: no key behind the block's last query.
      for (Index block = first_block(t, first); block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        tile_product(keys, h, k.at + block * k.stride, k.stride, 1, q, scores_to_p, false);
        finish_scores(t, keys, first - block, scores_to_p);
        softmax_block<T>(keys, h, softmax_scale(t), scores_to_p, high, total, out,
                         [&](Index j, Index i, auto first, auto second) {
                           put_rows(first, second, scores_to_p + j * width + i);
                         });
        tile_product(h, keys, v.at + block * v.stride, 1, v.stride, scores_to_p, out, true);
      }
      finish_queries(t, g, begin, rows, high, total, out);
    }
  }
}

/// dk, dv [k_len, h], from the type of sums, where they belong. The scale of the scores is
/// multiplied in here, once, and not in every tile.
template <class T>
void store_keys(const AttentionTask<T>& t, const Acc<T>* dk, const Acc<T>* dv) {
  const Index h = t.head_dim;
  const auto scale = static_cast<Acc<T>>(t.scale);
  for (Index j = 0; j < t.k_len; ++j) {
#pragma omp simd
    for (Index c = 0; c < h; ++c) {
      store(t.dk[j * t.kv_stride + c], dk[j * h + c] * scale);
      store(t.dv[j * t.kv_stride + c], dv[j * h + c]);
    }
  }
}

// With P = exp(S - lse), D = rowsum(dO * O):  dV = P^T dO,  dP = dO V^T,  dS = P (dP - D),
// dQ = scale dS K,  dK = scale dS^T Q.
//
// Scores are made again, tile by tile. dK and dV add up over all queries of the group in scratch
// and are stored last, so that they may be stored over k and v; dq of a block is stored when its q
// has been read.
template <class T, bool kCapped>
void attention_backward_of(const AttentionTask<T>& t) {
  using A = Acc<T>;
  constexpr Index width = kQueries<A>;
  const Index h = t.head_dim;
  A* q = t.scratch;                           // [h][queries]
  A* dout = q + width * h;                    // [h][queries]
  A* dq = dout + width * h;                   // [h][queries]
  A* q_rows = dq + width * h;                 // [queries][h]
  A* dout_rows = q_rows + width * h;          // [queries][h]
  A* scores_to_p = dout_rows + width * h;     // [keys][queries]
  A* dp_to_ds = scores_to_p + kKeys * width;  // [keys][queries]
  A* lse2 = dp_to_ds + kKeys * width;         // [queries]: log-sum-exp / ln 2
  A* delta = lse2 + width;                    // [queries]: D
  A* scale = delta + width;                   // [queries], all the same
  A* dk = scale + width;                      // [k_len][h]
  A* dv = dk + t.k_len * h;                   // [k_len][h]
  A* copies = dv + t.k_len * h;               // [2][k_len][h], where gather() needs them
  const Rows<A> k = gather(t, t.k, t.prefix_k, copies);
  const Rows<A> v = gather(t, t.v, t.prefix_v, copies + t.k_len * h);
  for (Index i = 0; i < t.k_len * h; ++i) {
    dk[i] = 0;
    dv[i] = 0;
  }
  for (Index i = 0; i < width; ++i) {
    scale[i] = static_cast<A>(t.scale);
  }
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += width) {
      const Index rows = begin + width < t.q_len ? width : t.q_len - begin;
      const Index first = t.k_len - t.q_len + begin;
      const Index at = begin * t.q_stride + g * h;
      load_transposed(t.q + at, t.q_stride, rows, h, q_rows, q);
      load_transposed(t.dout + at, t.q_stride, rows, h, dout_rows, dout);
      load_statistics(t, g, begin, rows, lse2, delta);
      const Index begin_block = first_block(t, first);
      for (Index block = begin_block; block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        const A* k_block = k.at + block * k.stride;
        tile_product(keys, h, k_block, k.stride, 1, q, scores_to_p, false);
        tile_product(keys, h, v.at + block * v.stride, v.stride, 1, dout, dp_to_ds, false);
        finish_scores(t, keys, first - block, scores_to_p);
        softmax_backward<T, kCapped>(
            keys, softmax_scale(t), lse2, delta, scores_to_p, dp_to_ds,
            [&](Index j, Index i, auto p_first, auto p_second, auto ds_first, auto ds_second) {
              put_rows(p_first, p_second, scores_to_p + j * width + i);
              put_rows(ds_first, ds_second, dp_to_ds + j * width + i);
            });
        tile_gemm<A>({keys, h, rows, scores_to_p, width, 1, dout_rows, h, dv + block * h, h, true});
        tile_gemm<A>({keys, h, rows, dp_to_ds, width, 1, q_rows, h, dk + block * h, h, true});
        tile_product(h, keys, k_block, 1, k.stride, dp_to_ds, dq, block > begin_block);
      }
      store_transposed(dq, rows, h, scale, t.q_stride, t.dq + at);
    }
  }
  store_keys(t, dk, dv);
}

template <class T>
void attention_backward(const AttentionTask<T>& t) {
  if (t.soft_cap > 0.0) {
    attention_backward_of<T, true>(t);
  } else {
    attention_backward_of<T, false>(t);
  }
}

#if defined(__AVX512BF16__)
// By pairs where rows are whole pairs, and backward where heads are whole panels too; else the
// loops above, which widen to float32.
void attention_forward_bf16(const AttentionTask<Bf16>& t) {
  if (has_pairs(t)) {
    attention_forward_by_pairs(t);
  } else {
    attention_forward(t);
  }
}

void attention_backward_bf16(const AttentionTask<Bf16>& t) {
  const bool by_pairs = has_pairs(t) && t.head_dim % kPanel == 0;
  if (by_pairs && t.soft_cap > 0.0) {
    attention_backward_by_pairs<true>(t);
  } else if (by_pairs) {
    attention_backward_by_pairs<false>(t);
  } else {
    attention_backward(t);
  }
}
#endif

template <class T>
void fill(Kernels<T>& k) {
  k.attention_forward = attention_forward<T>;
  k.attention_backward = attention_backward<T>;
}

}  // namespace

namespace GM_ISA {
void fill_attention(KernelSet& set) {
  fill(set.f32);
  fill(set.f64);
  fill(set.bf16);
#if defined(__AVX512BF16__)
  set.bf16.attention_forward = attention_forward_bf16;
  set.bf16.attention_backward = attention_backward_bf16;
#endif
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
