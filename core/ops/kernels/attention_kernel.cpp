// Causal attention of one segment and one group of heads, in blocks with a running maximum
// (Dao et al. 2022, arXiv 2205.14135). Tiles lie with the queries along the vectors,
// [keys][queries] and [h][queries], so that maxima and sums over keys are vertical and small heads
// fill vectors as large ones do. All tiles are in the type of sums.
#include "core/ops/kernels/units.h"

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

/// Rows as the type of sums, one behind another.
template <class T>
void load_rows(const T* from, Index stride, Index rows, Index h, Acc<T>* to) {
  for (Index j = 0; j < rows; ++j) {
#pragma omp simd
    for (Index c = 0; c < h; ++c) {
      to[j * h + c] = load(from[j * stride + c]);
    }
  }
}

/// copy[q][c] = to[c][q] = from[q][c] for q in [0, rows); the rest of `to` is 0.
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

/// to[q][c] = scale_q * from[c][q].
template <class T>
void store_transposed(const Acc<T>* from, Index rows, Index h, const Acc<T>* scale, Index stride,
                      T* to) {
  using A = Acc<T>;
  constexpr Index width = kQueries<A>;
  constexpr Index kColumns = 8;
  Index c = 0;
  if constexpr (sizeof(A) == sizeof(float)) {
    for (; c + kColumns <= h; c += kColumns) {
      A tile[width * kColumns];  // [queries][columns]
      for (Index i = 0; i < kColumns; i += 4) {
        const std::uint32_t* row[4];
        for (Index j = 0; j < 4; ++j) {
          row[j] = reinterpret_cast<const std::uint32_t*>(from + (c + i + j) * width);
        }
        for (Index q = 0; q < width; q += 4) {
          transpose_four(row, q, kColumns,
                         reinterpret_cast<std::uint32_t*>(tile + q * kColumns + i));
        }
      }
      for (Index q = 0; q < rows; ++q) {
#pragma omp simd
        for (Index i = 0; i < kColumns; ++i) {
          store(to[q * stride + c + i], tile[q * kColumns + i] * scale[q]);
        }
      }
    }
  }
  for (; c < h; ++c) {
    for (Index q = 0; q < rows; ++q) {
      store(to[q * stride + c], from[c * width + q] * scale[q]);
    }
  }
}

/// sum of x[c] y[c], in eight sums that are added up last.
template <class T>
Acc<T> row_product(Index h, const T* x, const T* y) {
  constexpr Index kSums = 8;
  Acc<T> part[kSums] = {};
  Index c = 0;
  for (; c + kSums <= h; c += kSums) {
#pragma omp simd
    for (Index i = 0; i < kSums; ++i) {
      part[i] += load(x[c + i]) * load(y[c + i]);
    }
  }
  for (; c < h; ++c) {
    part[0] += load(x[c]) * load(y[c]);
  }
#pragma GCC unroll 3
  for (Index half = kSums / 2; half > 0; half /= 2) {
#pragma omp simd
    for (Index i = 0; i < half; ++i) {
      part[i] += part[half + i];
    }
  }
  return part[0];
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
    load_rows(prefix + t.prefix_rows[j] * t.kv_stride, t.kv_stride, 1, h, copy + j * h);
  }
  load_rows(own, t.kv_stride, t.k_len - t.prefix_len, h, copy + t.prefix_len * h);
  return {copy, h};
}

/// Scores of keys that queries do not see: query q sees keys up to `seen` + q of this block.
template <class A>
void hide_later_keys(Index keys, Index seen, A* scores) {
  constexpr Index width = kQueries<A>;
  for (Index j = seen + 1 < 0 ? 0 : seen + 1; j < keys; ++j) {
    const Index hidden = j - seen < width ? j - seen : width;
    for (Index q = 0; q < hidden; ++q) {
      scores[j * width + q] = kNothing<A>;
    }
  }
}

/// Scores -> exp(scale (score - new maximum)); sums and outputs so far are rescaled.
template <class T, class A = Acc<T>>
void softmax_block(Index keys, Index h, double scale, A* scores, A* high, A* total, A* out) {
  constexpr Index width = kQueries<A>;
  const A factor = static_cast<A>(scale * kLog2E);
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
    keep[q] = exp2_below_one<T>((high[q] - top[q]) * factor);
    high[q] = top[q];
    sum[q] = 0;
  }
  for (Index j = 0; j < keys; ++j) {
#pragma omp simd
    for (Index q = 0; q < width; ++q) {
      const A e = exp2_below_one<T>((scores[j * width + q] - top[q]) * factor);
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

/// Output and log-sum-exp of queries whose keys have all been seen.
template <class T>
void finish_queries(const AttentionTask<T>& t, Index g, Index begin, Index rows, const Acc<T>* high,
                    Acc<T>* total, const Acc<T>* out) {
  using A = Acc<T>;
  for (Index i = 0; i < rows; ++i) {
    if (t.lse != nullptr) {
      t.lse[g * t.lse_stride + begin + i] =
          high[i] * static_cast<A>(t.scale) +
          static_cast<A>(__builtin_log(static_cast<double>(total[i])));
    }
    total[i] = A(1) / total[i];
  }
  store_transposed(out, rows, t.head_dim, total, t.q_stride,
                   t.out + begin * t.q_stride + g * t.head_dim);
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
      load_transposed(t.q + begin * t.q_stride + g * h, t.q_stride, rows, h, out, q);
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
        hide_later_keys(keys, first - block, scores);
        softmax_block<T>(keys, h, t.scale, scores, high, total, out);
        tile_product(h, keys, v.at + block * v.stride, 1, v.stride, scores, out, true);
      }
      finish_queries(t, g, begin, rows, high, total, out);
    }
  }
}

/// Scores -> P = exp(scale score - lse), dP -> P (dP - delta). lse2: lse / ln 2.
template <class T, class A = Acc<T>>
void softmax_backward(Index keys, double scale, const A* lse2, const A* delta, A* p, A* ds) {
  constexpr Index width = kQueries<A>;
  const A factor = static_cast<A>(scale * kLog2E);
  for (Index j = 0; j < keys; ++j) {
#pragma omp simd
    for (Index i = 0; i < width; ++i) {
      const A e = exp2_below_one<T>(p[j * width + i] * factor - lse2[i]);
      p[j * width + i] = e;
      ds[j * width + i] = e * (ds[j * width + i] - delta[i]);
    }
  }
}

/// delta = rowsum(dO * O) and lse / ln 2 of `rows` queries; of the rest so that P is 0.
template <class T>
void load_statistics(const AttentionTask<T>& t, Index g, Index begin, Index rows, Acc<T>* lse2,
                     Acc<T>* delta) {
  using A = Acc<T>;
  for (Index i = 0; i < kQueries<A>; ++i) {
    const Index at = (begin + i) * t.q_stride + g * t.head_dim;
    delta[i] = i < rows ? row_product(t.head_dim, t.dout + at, t.out + at) : A(0);
    lse2[i] = i < rows ? t.lse[g * t.lse_stride + begin + i] * static_cast<A>(kLog2E)
                       : -kNothing<A>;
  }
}

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
  A* lse2 = ds + kKeys * width;
  A* delta = lse2 + width;
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
      load_transposed(t.q + at, t.q_stride, rows, h, q_rows, q);
      load_transposed(t.dout + at, t.q_stride, rows, h, dout_rows, dout);
      load_statistics(t, g, begin, rows, lse2, delta);
      for (Index block = 0; block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        const A* k_block = k.at + block * k.stride;
        tile_product(keys, h, k_block, k.stride, 1, q, p, false);
        tile_product(keys, h, v.at + block * v.stride, v.stride, 1, dout, ds, false);
        hide_later_keys(keys, first - block, p);
        softmax_backward<T>(keys, t.scale, lse2, delta, p, ds);
        tile_gemm<A>({keys, h, rows, p, width, 1, dout_rows, h, dv + block * h, h, true});
        tile_gemm<A>({keys, h, rows, ds, width, 1, q_rows, h, dk + block * h, h, true});
        tile_product(h, keys, k_block, 1, k.stride, ds, dq, block > 0);
      }
      store_transposed(dq, rows, h, scale, t.q_stride, t.dq + at);
    }
  }
  store_keys(t, dk, dv);
}

#if defined(__AVX512BF16__)

// The same for bfloat16 by vdpbf16ps: scores and their gradients are sums in float32, what is
// multiplied is bfloat16, as are P and dS (flash attention on GPUs rounds them, too).

using Pair = Unit<Bf16>;

/// C [m, kPanel] (+)= A B; rows of A begin `apart` pairs apart, their pairs `step` apart.
GM_INLINE void pair_product(Index m, Index pairs, const Pair* a, Index apart, Index step,
                            const Pair* panel, float* c, bool accumulate) {
  const auto rows = [&]<int MR>(Index i) {
    Vector acc[MR][2];
    panel_sums<Bf16>(pairs, a + i * apart, apart, step, panel, acc);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      for (int s = 0; s < 2; ++s) {
        Vector* to = reinterpret_cast<Vector*>(c + (i + r) * kPanel + s * kLanes);
        *to = accumulate ? *to + acc[r][s] : acc[r][s];
      }
    }
  };
  Index i = 0;
  for (; i + kRows <= m; i += kRows) {
    rows.template operator()<kRows>(i);
  }
  for (; i < m; ++i) {
    rows.template operator()<1>(i);
  }
}

/// to[j / 2][c] = rows j and j + 1 of a matrix with `columns` columns, zero behind its end.
void pair_rows(const Bf16* from, Index stride, Index rows, Index columns, Pair* to) {
  for (Index j = 0; j < rows; j += 2) {
    const bool has_second = j + 1 < rows;
#pragma omp simd
    for (Index c = 0; c < columns; ++c) {
      to[j / 2 * columns + c] = unit_at(from + j * stride + c, stride, has_second);
    }
  }
}

/// A tile [keys, kPanel] rounded: `rows` as it is, `pairs` with keys j and j + 1 as a pair. One of
/// both may be null.
void round_tile(Index keys, const float* tile, Bf16* rows, Pair* pairs) {
  for (Index j = 0; j < keys; j += 2) {
    for (Index s = 0; s < kPanel; s += kLanes) {
      const float* at = tile + j * kPanel + s;
      const Halves first = rounded(load_as<Vector>(at));
      const Halves second =
          j + 1 < keys ? rounded(load_as<Vector>(at + kPanel)) : Halves{};
      if (rows != nullptr) {
        *reinterpret_cast<Halves*>(rows + j * kPanel + s) = first;
        *reinterpret_cast<Halves*>(rows + (j + 1) * kPanel + s) = second;
      }
      if (pairs != nullptr) {
        *reinterpret_cast<Bits*>(pairs + j / 2 * kPanel + s) =
            __builtin_convertvector(first, Bits) | __builtin_convertvector(second, Bits)
                                                             << 16;
      }
    }
  }
}

/// Keys or values in one place: where they lie, or in `copy` behind their prefix.
Rows<Bf16> gather_bf16(const AttentionTask<Bf16>& t, const Bf16* own, const Bf16* prefix,
                       Bf16* copy) {
  if (t.prefix_len == 0) {
    return {own, t.kv_stride};
  }
  for (Index j = 0; j < t.k_len; ++j) {
    const Bf16* from = j < t.prefix_len ? prefix + t.prefix_rows[j] * t.kv_stride
                                        : own + (j - t.prefix_len) * t.kv_stride;
    for (Index c = 0; c < t.head_dim; ++c) {
      copy[j * t.head_dim + c] = from[c];
    }
  }
  return {copy, t.head_dim};
}

bool by_pairs(const AttentionTask<Bf16>& t) {
  return t.head_dim % 2 == 0 && t.kv_stride % 2 == 0 && t.q_stride % 2 == 0;
}

const Pair* pairs_of(const Bf16* x) { return reinterpret_cast<const Pair*>(x); }

void attention_forward_bf16(const AttentionTask<Bf16>& t) {
  if (!by_pairs(t)) {
    attention_forward(t);
    return;
  }
  const Index h = t.head_dim;
  float* out = t.scratch;
  float* scores = out + kPanel * h;
  float* high = scores + kKeys * kPanel;
  float* total = high + kPanel;
  auto* q = reinterpret_cast<Pair*>(total + kPanel);  // [h / 2][queries]
  Pair* p = q + kPanel * h / 2;                       // [keys / 2][queries]
  Pair* v = p + kKeys / 2 * kPanel;                   // [keys / 2][h], of all keys
  auto* copies = reinterpret_cast<Bf16*>(v + (t.k_len + 1) / 2 * h);
  const Rows<Bf16> k = gather_bf16(t, t.k, t.prefix_k, copies);
  const Rows<Bf16> v_rows = gather_bf16(t, t.v, t.prefix_v, copies + t.k_len * h);
  pair_rows(v_rows.at, v_rows.stride, t.k_len, h, v);
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += kPanel) {
      const Index rows = begin + kPanel < t.q_len ? kPanel : t.q_len - begin;
      const Index first = t.k_len - t.q_len + begin;
      pack<Bf16, kPanel>(h, rows, t.q + begin * t.q_stride + g * h, t.q_stride, 1, q);
      for (Index i = 0; i < kPanel; ++i) {
        high[i] = kNothing<float>;
        total[i] = 0;
      }
      for (Index i = 0; i < kPanel * h; ++i) {
        out[i] = 0;
      }
      for (Index block = 0; block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        pair_product(keys, h / 2, pairs_of(k.at + block * k.stride), k.stride / 2, 1, q, scores,
                     false);
        hide_later_keys(keys, first - block, scores);
        softmax_block<Bf16>(keys, h, t.scale, scores, high, total, out);
        round_tile(keys, scores, nullptr, p);
        pair_product(h, (keys + 1) / 2, v + block / 2 * h, 1, h, p, out, true);
      }
      finish_queries(t, g, begin, rows, high, total, out);
    }
  }
}

void attention_backward_bf16(const AttentionTask<Bf16>& t) {
  const Index h = t.head_dim;
  if (!by_pairs(t) || h % kPanel != 0) {
    attention_backward(t);
    return;
  }
  float* dq = t.scratch;  // [h][queries]
  float* p = dq + kPanel * h;
  float* ds = p + kKeys * kPanel;
  float* lse2 = ds + kKeys * kPanel;
  float* delta = lse2 + kPanel;
  float* scale = delta + kPanel;
  float* dk = scale + kPanel;  // [h / kPanel][keys][kPanel]
  float* dv = dk + t.k_len * h;
  auto* q = reinterpret_cast<Pair*>(dv + t.k_len * h);  // [h / 2][queries]
  Pair* dout = q + kPanel * h / 2;
  Pair* q_rows = dout + kPanel * h / 2;  // [queries / 2][h]
  Pair* dout_rows = q_rows + kPanel / 2 * h;
  Pair* ds_pairs = dout_rows + kPanel / 2 * h;  // [keys / 2][queries]
  Pair* k = ds_pairs + kKeys / 2 * kPanel;      // [keys / 2][h], of all keys
  auto* rounded_p = reinterpret_cast<Bf16*>(k + (t.k_len + 1) / 2 * h);
  Bf16* rounded_ds = rounded_p + kKeys * kPanel;
  pair_rows(t.k, t.kv_stride, t.k_len, h, k);
  for (Index i = 0; i < t.k_len * h; ++i) {
    dk[i] = 0;
    dv[i] = 0;
  }
  for (Index i = 0; i < kPanel; ++i) {
    scale[i] = static_cast<float>(t.scale);
  }
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += kPanel) {
      const Index rows = begin + kPanel < t.q_len ? kPanel : t.q_len - begin;
      const Index first = t.k_len - t.q_len + begin;
      const Index at = begin * t.q_stride + g * h;
      pack<Bf16, kPanel>(h, rows, t.q + at, t.q_stride, 1, q);
      pack<Bf16, kPanel>(h, rows, t.dout + at, t.q_stride, 1, dout);
      for (Index c = 0; c < h; c += kPanel) {  // panels of h, pairs of queries
        pack<Bf16, kPanel>(rows, kPanel, t.q + at + c, 1, t.q_stride, q_rows + kPanel / 2 * c);
        pack<Bf16, kPanel>(rows, kPanel, t.dout + at + c, 1, t.q_stride,
                           dout_rows + kPanel / 2 * c);
      }
      load_statistics(t, g, begin, rows, lse2, delta);
      for (Index block = 0; block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        const Index row = block * t.kv_stride;
        pair_product(keys, h / 2, pairs_of(t.k + row), t.kv_stride / 2, 1, q, p, false);
        pair_product(keys, h / 2, pairs_of(t.v + row), t.kv_stride / 2, 1, dout, ds, false);
        hide_later_keys(keys, first - block, p);
        softmax_backward<Bf16>(keys, t.scale, lse2, delta, p, ds);
        round_tile(keys, p, rounded_p, nullptr);
        round_tile(keys, ds, rounded_ds, ds_pairs);
        for (Index c = 0; c < h; c += kPanel) {
          const Index panel = kPanel / 2 * c;
          const Index to = t.k_len * c + block * kPanel;
          pair_product(keys, (rows + 1) / 2, pairs_of(rounded_p), kPanel / 2, 1, dout_rows + panel,
                       dv + to, true);
          pair_product(keys, (rows + 1) / 2, pairs_of(rounded_ds), kPanel / 2, 1, q_rows + panel,
                       dk + to, true);
        }
        pair_product(h, (keys + 1) / 2, k + block / 2 * h, 1, h, ds_pairs, dq, block > 0);
      }
      store_transposed(dq, rows, h, scale, t.q_stride, t.dq + at);
    }
  }
  for (Index c = 0; c < h; c += kPanel) {
    for (Index j = 0; j < t.k_len; ++j) {
      const Index from = t.k_len * c + j * kPanel;
#pragma omp simd
      for (Index i = 0; i < kPanel; ++i) {
        store(t.dk[j * t.kv_stride + c + i], dk[from + i] * scale[i]);
        store(t.dv[j * t.kv_stride + c + i], dv[from + i]);
      }
    }
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
