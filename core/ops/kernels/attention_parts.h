// What every way of computing attention in blocks shares: tiles of scores [keys][queries], their
// softmax, and rows of queries. Legend: kernels.h; `queries` is kQueries, always whole, `keys` at
// most kKeys; `rows` of the queries are there.
#pragma once

#include "core/ops/kernels/units.h"

namespace growmerge::ops {
namespace {

constexpr Index kKeys = kAttentionBlock;
template <class A>
constexpr Index kQueries = 2 * kVectorBytes / static_cast<Index>(sizeof(A));
static_assert(kQueries<float> <= kAttentionQueries);

template <class A>
constexpr A kNothing = A(-1e30);  // the score of a key that is not seen; -inf - -inf would be NaN

/// to[q][c] = scale_q * from[c][q]: from [h][queries], to [rows, h] in rows of `stride`, scale
/// [queries]. Eight columns at a time turn in registers and go out as rows of eight.
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

/// sum of x[c] y[c], both [h], in eight sums that are added up last: the same order in every
/// instruction set, and additions that need not wait for one another.
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

/// Rows of keys or values, wherever they lie.
template <class A>
struct Rows {
  const A* at;
  Index stride;
};

/// Scores [keys][queries] of keys that queries do not see: query q sees keys up to `seen` + q of
/// this block. Only blocks on the diagonal have such keys.
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

/// The first block's beginning: of all keys, or of those in the window of the first of some
/// queries, which is at position `first`.
template <class T>
Index first_block(const AttentionTask<T>& t, Index first) {
  const Index key = t.window == 0 ? 0 : first - t.window + 1;
  return key <= 0 ? 0 : key / kKeys * kKeys;
}

/// As above for keys that lie before a query's window: query q sees keys from `seen` + q - window +
/// 1 on. Where a query sees none of a block's keys, what it sums up there is forgotten at its first
/// key that counts, which is in a later block.
template <class A>
void hide_earlier_keys(Index keys, Index seen, Index window, A* scores) {
  constexpr Index width = kQueries<A>;
  for (Index j = 0; j < keys; ++j) {
    const Index begin = j - seen + window;  // the first query that is too far away
    for (Index q = begin < 0 ? 0 : begin; q < width; ++q) {
      scores[j * width + q] = kNothing<A>;
    }
  }
}

/// Calls fn.operator()<V>(q) with a vector V of queries, or one in float64, until all of a tile's
/// have been covered.
template <class A, class Fn>
GM_INLINE void for_queries(const Fn& fn) {
  if constexpr (sizeof(A) == sizeof(float)) {
    for (Index q = 0; q < kQueries<A>; q += kLanes) {
      fn.template operator()<Vector>(q);
    }
  } else {
    for (Index q = 0; q < kQueries<A>; ++q) {
      fn.template operator()<A>(q);
    }
  }
}

/// What the softmax multiplies a tile's scores by: cap_scores() has multiplied by the scale.
template <class T>
double softmax_scale(const AttentionTask<T>& t) {
  return t.soft_cap > 0.0 ? t.soft_cap : t.scale;
}

/// Scores become tanh(scale score / cap), of which the softmax takes `cap` times (Gemma 2, arXiv
/// 2408.00118).
template <class T, class A = Acc<T>>
void cap_scores(const AttentionTask<T>& t, Index keys, A* scores) {
  const A factor = static_cast<A>(t.scale / t.soft_cap);
  for_queries<A>([&]<class V>(Index q) {
    for (Index j = 0; j < keys; ++j) {
      A* at = scores + j * kQueries<A> + q;
      store_as(at, tanh_of(load_as<V>(at) * factor));
    }
  });
}

/// What a tile of products [keys][queries] needs before its softmax. `seen`: the first query's
/// position, counted from the tile's first key.
template <class T, class A = Acc<T>>
GM_INLINE void finish_scores(const AttentionTask<T>& t, Index keys, Index seen, A* scores) {
  if (t.soft_cap > 0.0) {
    cap_scores(t, keys, scores);
  }
  hide_later_keys(keys, seen, scores);
  if (t.window > 0) {
    hide_earlier_keys(keys, seen, t.window, scores);
  }
}

/// e = exp(scale (score - new maximum)) of every key and query goes to put(j, q, e of key j, e of
/// key j + 1) for even keys j, 0 where there is no key j + 1; sums and outputs so far are rescaled.
/// scores [keys][queries]; high, total [queries]; out [h][queries].
///
/// Powers of two: log2(e) is folded into the scale. The maximum is subtracted before the scale is
/// multiplied in, so that the largest score gives exactly 2^0.
template <class T, class Put, class A = Acc<T>>
GM_INLINE void softmax_block(Index keys, Index h, double scale, const A* scores, A* high, A* total,
                             A* out, const Put& put) {
  constexpr Index width = kQueries<A>;
  const A factor = static_cast<A>(scale * kLog2E);
  for_queries<A>([&]<class V>(Index q) {
    V top = load_as<V>(high + q);
    for (Index j = 0; j < keys; ++j) {
      const V s = load_as<V>(scores + j * width + q);
      top = s > top ? s : top;
    }
    const V keep = exp2_below_one<T>((load_as<V>(high + q) - top) * factor);
    const auto e_of = [&](Index j) {
      return exp2_below_one<T>((load_as<V>(scores + j * width + q) - top) * factor);
    };
    V sum{};
    for (Index j = 0; j < keys; j += 2) {
      const V first = e_of(j);
      const V second = j + 1 < keys ? e_of(j + 1) : V{};
      sum += first + second;
      put(j, q, first, second);
    }
    store_as(total + q, load_as<V>(total + q) * keep + sum);
    store_as(high + q, top);
    for (Index c = 0; c < h; ++c) {
      store_as(out + c * width + q, load_as<V>(out + c * width + q) * keep);
    }
  });
}

/// Output and log-sum-exp of `rows` queries from `begin` on, whose keys have all been seen. `total`
/// [queries] becomes its reciprocal, so that outputs are divided by a multiplication.
template <class T>
void finish_queries(const AttentionTask<T>& t, Index g, Index begin, Index rows, const Acc<T>* high,
                    Acc<T>* total_to_reciprocal, const Acc<T>* out) {
  using A = Acc<T>;
  for (Index i = 0; i < rows; ++i) {
    if (t.lse != nullptr) {
      t.lse[g * t.lse_stride + begin + i] =
          high[i] * static_cast<A>(softmax_scale(t)) +
          static_cast<A>(__builtin_log(static_cast<double>(total_to_reciprocal[i])));
    }
    total_to_reciprocal[i] = A(1) / total_to_reciprocal[i];
  }
  store_transposed(out, rows, t.head_dim, total_to_reciprocal, t.q_stride,
                   t.out + begin * t.q_stride + g * t.head_dim);
}

/// P = exp(scale score - lse) and dS = P (dP - delta) of every key and query go to put(j, q, P of
/// key j, P of key j + 1, dS of both) for even keys j, as above. lse2: lse / ln 2. scores, dp
/// [keys][queries]; lse2, delta [queries]. `put` may write over both: a pair has been read by then.
/// Capped scores are tanh s, whose slope 1 - s^2 is in dS; hidden ones, kNothing, have a P of 0.
template <class T, bool kCapped, class Put, class A = Acc<T>>
GM_INLINE void softmax_backward(Index keys, double scale, const A* lse2, const A* delta,
                                const A* scores, const A* dp, const Put& put) {
  constexpr Index width = kQueries<A>;
  const A factor = static_cast<A>(scale * kLog2E);
  for_queries<A>([&]<class V>(Index q) {
    const V shift = load_as<V>(lse2 + q);
    const V mean = load_as<V>(delta + q);
    const auto p_of = [&](Index j) {
      return exp2_below_one<T>(load_as<V>(scores + j * width + q) * factor - shift);
    };
    const auto slope_of = [&](Index j) {
      const V slope = load_as<V>(dp + j * width + q) - mean;
      if constexpr (kCapped) {
        const V s = load_as<V>(scores + j * width + q);
        return s < V{} - A(1) ? V{} : slope * (A(1) - s * s);
      } else {
        return slope;
      }
    };
    for (Index j = 0; j < keys; j += 2) {
      const bool has_second = j + 1 < keys;
      const V first = p_of(j);
      const V second = has_second ? p_of(j + 1) : V{};
      put(j, q, first, second, first * slope_of(j), has_second ? second * slope_of(j + 1) : V{});
    }
  });
}

/// delta = rowsum(dO * O) and lse / ln 2 of `rows` queries; of the rest so that P is 0 (2^-1e30).
/// Both [queries].
template <class T>
void load_statistics(const AttentionTask<T>& t, Index g, Index begin, Index rows, Acc<T>* lse2,
                     Acc<T>* delta) {
  using A = Acc<T>;
  for (Index i = 0; i < kQueries<A>; ++i) {
    const Index at = (begin + i) * t.q_stride + g * t.head_dim;
    delta[i] = i < rows ? row_product(t.head_dim, t.dout + at, t.out + at) : A(0);
    lse2[i] =
        i < rows ? t.lse[g * t.lse_stride + begin + i] * static_cast<A>(kLog2E) : -kNothing<A>;
  }
}

}  // namespace
}  // namespace growmerge::ops
