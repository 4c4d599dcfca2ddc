// Causal attention of one segment and one group of heads, in blocks with a running maximum
// (Dao et al. 2022, arXiv 2205.14135). Tiles lie with the queries along the vectors,
// [keys][queries] and [h][queries], so that maxima and sums over keys are vertical and small heads
// fill vectors as large ones do. All tiles are in the type of sums.
#include "core/ops/kernels/tile_gemm.h"

namespace growmerge::ops {
namespace {

constexpr Index kKeys = kAttentionBlock;
template <class A>
constexpr Index kQueries = 2 * kVectorBytes / static_cast<Index>(sizeof(A));
static_assert(kQueries<float> <= kAttentionQueries);

template <class A>
constexpr A kNothing = A(-1e30);  // the score of a key that is not seen

/// C [m, kQueries] (+)= A [m, k] B [k, kQueries]; C and B are tiles, A has any strides.
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

/// to[c][q] = scale * from[q][c] for q in [0, rows), 0 behind.
template <class T>
void load_transposed(const T* from, Index stride, Index rows, Index h, Acc<T> scale, Acc<T>* to) {
  constexpr Index width = kQueries<Acc<T>>;
  for (Index q = 0; q < rows; ++q) {
    for (Index c = 0; c < h; ++c) {
      to[c * width + q] = load(from[q * stride + c]) * scale;
    }
  }
  for (Index c = 0; c < h; ++c) {
    for (Index q = rows; q < width; ++q) {
      to[c * width + q] = 0;
    }
  }
}

/// to[q][c] = scale_q * from[c][q].
template <class T>
void store_transposed(const Acc<T>* from, Index rows, Index h, const Acc<T>* scale, Index stride,
                      T* to) {
  constexpr Index width = kQueries<Acc<T>>;
  for (Index q = 0; q < rows; ++q) {
    for (Index c = 0; c < h; ++c) {
      store(to[q * stride + c], from[c * width + q] * scale[q]);
    }
  }
}

/// Rows as the type of sums, zero from `rows` to `height`.
template <class T>
void load_rows(const T* from, Index stride, Index rows, Index height, Index h, Acc<T> scale,
               Acc<T>* to) {
  for (Index j = 0; j < rows; ++j) {
#pragma omp simd
    for (Index c = 0; c < h; ++c) {
      to[j * h + c] = load(from[j * stride + c]) * scale;
    }
  }
  for (Index c = rows * h; c < height * h; ++c) {
    to[c] = 0;
  }
}

template <class A>
struct Rows {
  const A* at;
  Index stride;
};

/// Keys or values of the task's prefix and segment: where they lie, or in `copy` where they are of
/// another type or in two places.
template <class T>
Rows<Acc<T>> gather(const AttentionTask<T>& t, const T* own, const T* prefix, Acc<T>* copy) {
  if constexpr (sizeof(T) == sizeof(Acc<T>)) {
    if (t.prefix_len == 0) {
      return {own, t.kv_stride};
    }
  }
  const Index h = t.head_dim;
  for (Index j = 0; j < t.prefix_len; ++j) {
    load_rows(prefix + t.prefix_rows[j] * t.kv_stride, t.kv_stride, 1, 1, h, Acc<T>(1),
              copy + j * h);
  }
  const Index rows = t.k_len - t.prefix_len;
  load_rows(own, t.kv_stride, rows, rows, h, Acc<T>(1), copy + t.prefix_len * h);
  return {copy, h};
}

/// Scores of keys that queries do not see: query q sees keys up to `seen` + q of this block.
template <class A>
void hide_later_keys(Index keys, Index seen, A value, A* scores) {
  constexpr Index width = kQueries<A>;
  for (Index j = seen + 1 < 0 ? 0 : seen + 1; j < keys; ++j) {
    const Index hidden = j - seen < width ? j - seen : width;
    for (Index q = 0; q < hidden; ++q) {
      scores[j * width + q] = value;
    }
  }
}

/// Scores -> exp(score - new maximum); sums and outputs so far are rescaled.
template <class A>
void softmax_block(Index keys, Index h, A* scores, A* high, A* total, A* out) {
  constexpr Index width = kQueries<A>;
  A top[width];
  A keep[width];
  A sum[width];
#pragma omp simd
  for (Index q = 0; q < width; ++q) {
    top[q] = high[q];
  }
  for (Index j = 0; j < keys; ++j) {
#pragma omp simd
    for (Index q = 0; q < width; ++q) {
      const A s = scores[j * width + q];
      top[q] = s > top[q] ? s : top[q];
    }
  }
#pragma omp simd
  for (Index q = 0; q < width; ++q) {
    keep[q] = exp_of(high[q] - top[q]);
    high[q] = top[q];
    sum[q] = 0;
  }
  for (Index j = 0; j < keys; ++j) {
#pragma omp simd
    for (Index q = 0; q < width; ++q) {
      const A e = exp_of(scores[j * width + q] - top[q]);
      scores[j * width + q] = e;
      sum[q] += e;
    }
  }
#pragma omp simd
  for (Index q = 0; q < width; ++q) {
    total[q] = total[q] * keep[q] + sum[q];
  }
  for (Index c = 0; c < h; ++c) {
#pragma omp simd
    for (Index q = 0; q < width; ++q) {
      out[c * width + q] *= keep[q];
    }
  }
}

template <class T>
void attention_forward(const AttentionTask<T>& t) {
  using A = Acc<T>;
  constexpr Index width = kQueries<A>;
  const Index h = t.head_dim;
  A* q = t.scratch;
  A* out = q + width * h;
  A* scores = out + width * h;
  A* high = scores + kKeys * width;
  A* total = high + width;
  A* copies = total + width;
  const Rows<A> k = gather(t, t.k, t.prefix_k, copies);
  const Rows<A> v = gather(t, t.v, t.prefix_v, copies + t.k_len * h);
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += width) {
      const Index rows = begin + width < t.q_len ? width : t.q_len - begin;
      const Index first = t.k_len - t.q_len + begin;  // the first query's position
      load_transposed(t.q + begin * t.q_stride + g * h, t.q_stride, rows, h,
                      static_cast<A>(t.scale), q);
      for (Index i = 0; i < width; ++i) {
        high[i] = kNothing<A>;
        total[i] = 0;
      }
      for (Index i = 0; i < width * h; ++i) {
        out[i] = 0;
      }
      for (Index block = 0; block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        tile_product(keys, h, k.at + block * k.stride, k.stride, 1, q, scores, false);
        hide_later_keys(keys, first - block, kNothing<A>, scores);
        softmax_block(keys, h, scores, high, total, out);
        tile_product(h, keys, v.at + block * v.stride, 1, v.stride, scores, out, true);
      }
      for (Index i = 0; i < rows; ++i) {
        if (t.lse != nullptr) {
          t.lse[g * t.lse_stride + begin + i] =
              high[i] + static_cast<A>(__builtin_log(static_cast<double>(total[i])));
        }
        total[i] = A(1) / total[i];
      }
      store_transposed(out, rows, h, total, t.q_stride, t.out + begin * t.q_stride + g * h);
    }
  }
}

// With P = exp(S - lse), D = rowsum(dO * O):  dV = P^T dO,  dP = dO V^T,  dS = P (dP - D),
// dQ = scale dS K,  dK = dS^T (scale Q).
template <class T>
void attention_backward(const AttentionTask<T>& t) {
  using A = Acc<T>;
  constexpr Index width = kQueries<A>;
  const Index h = t.head_dim;
  A* q = t.scratch;  // [h][queries]
  A* dout = q + width * h;
  A* dq = dout + width * h;
  A* q_rows = dq + width * h;  // [queries][h]
  A* dout_rows = q_rows + width * h;
  A* p = dout_rows + width * h;  // [keys][queries]
  A* ds = p + kKeys * width;
  A* lse = ds + kKeys * width;
  A* delta = lse + width;
  A* scale = delta + width;
  A* dk = scale + width;
  A* dv = dk + t.k_len * h;
  A* copies = dv + t.k_len * h;
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
      load_transposed(t.q + at, t.q_stride, rows, h, static_cast<A>(t.scale), q);
      load_transposed(t.dout + at, t.q_stride, rows, h, A(1), dout);
      load_rows(t.q + at, t.q_stride, rows, width, h, static_cast<A>(t.scale), q_rows);
      load_rows(t.dout + at, t.q_stride, rows, width, h, A(1), dout_rows);
      for (Index i = 0; i < width; ++i) {
        A sum = 0;
        if (i < rows) {
          const T* out = t.out + at + i * t.q_stride;
#pragma omp simd reduction(+ : sum)
          for (Index c = 0; c < h; ++c) {
            sum += dout_rows[i * h + c] * load(out[c]);
          }
        }
        delta[i] = sum;
        lse[i] = i < rows ? t.lse[g * t.lse_stride + begin + i] : -kNothing<A>;
      }
      for (Index block = 0; block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        const A* k_block = k.at + block * k.stride;
        tile_product(keys, h, k_block, k.stride, 1, q, p, false);
        tile_product(keys, h, v.at + block * v.stride, v.stride, 1, dout, ds, false);
        hide_later_keys(keys, first - block, kNothing<A>, p);
        for (Index j = 0; j < keys; ++j) {
#pragma omp simd
          for (Index i = 0; i < width; ++i) {
            const A e = exp_of(p[j * width + i] - lse[i]);
            p[j * width + i] = e;
            ds[j * width + i] = e * (ds[j * width + i] - delta[i]);
          }
        }
        tile_gemm<A>({keys, h, width, p, width, 1, dout_rows, h, dv + block * h, h, true});
        tile_gemm<A>({keys, h, width, ds, width, 1, q_rows, h, dk + block * h, h, true});
        tile_product(h, keys, k_block, 1, k.stride, ds, dq, block > 0);
      }
      store_transposed(dq, rows, h, scale, t.q_stride, t.dq + at);
    }
  }
  for (Index j = 0; j < t.k_len; ++j) {
    for (Index c = 0; c < h; ++c) {
      store(t.dk[j * t.kv_stride + c], dk[j * h + c]);
      store(t.dv[j * t.kv_stride + c], dv[j * h + c]);
    }
  }
}

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
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
