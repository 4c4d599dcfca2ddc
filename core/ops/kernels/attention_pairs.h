// Attention of bfloat16 by vdpbf16ps: scores and their gradients are sums in float32, what is
// multiplied is bfloat16, as are P and dS (flash attention on GPUs rounds them, too).
//
// The instruction multiplies pairs and adds both products to one sum, so what is summed over must
// lie in pairs: h for scores, keys for out and dq, queries for dk and dv. Each operand is packed
// that way once. Shapes of a task: attention_kernel.cpp; a panel is kPanel = kQueries<float>
// queries.
#pragma once

#include "core/ops/kernels/attention_parts.h"

namespace growmerge::ops {
namespace {

using Pair = Unit<Bf16>;

/// C [m, kPanel] (+)= A [m, pairs] B [pairs, kPanel], in pairs of elements; rows of A begin `apart`
/// pairs apart, their pairs `step` apart.
GM_INLINE void pair_product(Index m, Index pairs, const Pair* a, Index apart, Index step,
                            const Pair* panel, float* c, bool accumulate) {
  const auto rows = [&]<int MR>(Index i) {
    Vector acc[MR][2] = {};
    add_product<Bf16>(pairs, a + i * apart, apart, step, panel, acc);
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

/// to[j / 2][c] = rows j and j + 1 of a matrix [rows, columns], zero behind its end: pairs of keys.
void pair_rows(const Bf16* from, Index stride, Index rows, Index columns, Pair* to) {
  for (Index j = 0; j < rows; j += 2) {
    const bool has_second = j + 1 < rows;
#pragma omp simd
    for (Index c = 0; c < columns; ++c) {
      to[j / 2 * columns + c] = unit_at(from + j * stride + c, stride, has_second);
    }
  }
}

/// Rows j and j + 1 of a tile [keys, kPanel].
GM_INLINE void put_rows(TwoHalves rows, Bf16* to) {
  *reinterpret_cast<Halves*>(to) = first_of(rows);
  *reinterpret_cast<Halves*>(to + kPanel) = second_of(rows);
}

/// Keys or values [k_len, h] in one place: where they lie, or in `copy` behind their prefix.
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

/// Whether rows are whole pairs, which may then be read as they lie.
bool has_pairs(const AttentionTask<Bf16>& t) {
  return t.head_dim % 2 == 0 && t.kv_stride % 2 == 0 && t.q_stride % 2 == 0;
}

const Pair* pairs_of(const Bf16* x) { return reinterpret_cast<const Pair*>(x); }

/// out and lse of a task, as attention_forward() makes them; exponentials are rounded in pairs of
/// keys where they are made, instead of in a pass of their own.
void attention_forward_by_pairs(const AttentionTask<Bf16>& t) {
  const Index h = t.head_dim;
  float* out = t.scratch;                             // [h][queries]
  float* scores = out + kPanel * h;                   // [keys][queries]
  float* high = scores + kKeys * kPanel;              // [queries]
  float* total = high + kPanel;                       // [queries]
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
      for (Index block = first_block(t, first); block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        pair_product(keys, h / 2, pairs_of(k.at + block * k.stride), k.stride / 2, 1, q, scores,
                     false);
        finish_scores(t, keys, first - block, scores);
        softmax_block<Bf16>(keys, h, softmax_scale(t), scores, high, total, out,
                            [&](Index j, Index i, Vector first, Vector second) {
                              store_pairs(rounded(first, second), p + j / 2 * kPanel + i);
                            });
        pair_product(h, (keys + 1) / 2, v + block / 2 * h, 1, h, p, out, true);
      }
      finish_queries(t, g, begin, rows, high, total, out);
    }
  }
}

/// Where attention_backward_by_pairs() keeps its tiles: pieces of a task's scratch.
struct BackwardTiles {
  BackwardTiles(float* scratch, Index h, Index k_len)
      : dq(scratch),
        scores(dq + kPanel * h),
        dp(scores + kKeys * kPanel),
        lse2(dp + kKeys * kPanel),
        delta(lse2 + kPanel),
        scale(delta + kPanel),
        dk(scale + kPanel),
        dv(dk + k_len * h),
        q(reinterpret_cast<Pair*>(dv + k_len * h)),
        dout(q + kPanel * h / 2),
        q_rows(dout + kPanel * h / 2),
        dout_rows(q_rows + kPanel / 2 * h),
        ds_pairs(dout_rows + kPanel / 2 * h),
        k(ds_pairs + kKeys / 2 * kPanel),
        p(reinterpret_cast<Bf16*>(k + (k_len + 1) / 2 * h)),
        ds(p + kKeys * kPanel) {}

  // Sums, and what is computed with, in float32.
  float* dq;      // [h][queries]
  float* scores;  // [keys][queries]
  float* dp;      // [keys][queries]
  float* lse2;    // [queries]: log-sum-exp / ln 2
  float* delta;   // [queries]: rowsum(dO * O)
  float* scale;   // [queries], all the same
  float* dk;      // [h / kPanel][all keys][kPanel]
  float* dv;      // like dk
  // Operands.
  Pair* q;          // [h / 2][queries], pairs of h
  Pair* dout;       // like q
  Pair* q_rows;     // [h / kPanel][queries / 2][kPanel], pairs of queries
  Pair* dout_rows;  // like q_rows
  Pair* ds_pairs;   // [keys / 2][queries], pairs of keys
  Pair* k;          // [all keys / 2][h], pairs of keys
  Bf16* p;          // [keys][queries], read as pairs of queries
  Bf16* ds;         // like p
};

/// A block of queries and of their outputs' gradients, which begin at `at`, in pairs of h and in
/// pairs of queries.
GM_INLINE void pack_queries(const AttentionTask<Bf16>& t, Index at, Index rows,
                            const BackwardTiles& b) {
  const Index h = t.head_dim;
  pack<Bf16, kPanel>(h, rows, t.q + at, t.q_stride, 1, b.q);
  pack<Bf16, kPanel>(h, rows, t.dout + at, t.q_stride, 1, b.dout);
  for (Index c = 0; c < h; c += kPanel) {
    pack<Bf16, kPanel>(rows, kPanel, t.q + at + c, 1, t.q_stride, b.q_rows + kPanel / 2 * c);
    pack<Bf16, kPanel>(rows, kPanel, t.dout + at + c, 1, t.q_stride, b.dout_rows + kPanel / 2 * c);
  }
}

/// dk and dv of all keys from panels of h to rows [k_len, h], rounded once.
GM_INLINE void store_key_panels(const AttentionTask<Bf16>& t, const BackwardTiles& b) {
  for (Index c = 0; c < t.head_dim; c += kPanel) {
    for (Index j = 0; j < t.k_len; ++j) {
      const Index from = t.k_len * c + j * kPanel;
#pragma omp simd
      for (Index i = 0; i < kPanel; ++i) {
        store(t.dk[j * t.kv_stride + c + i], b.dk[from + i] * b.scale[i]);
        store(t.dv[j * t.kv_stride + c + i], b.dv[from + i]);
      }
    }
  }
}

/// dq, dk and dv of a task as attention_backward() defines them, for heads of whole panels.
template <bool kCapped>
void attention_backward_by_pairs(const AttentionTask<Bf16>& t) {
  const Index h = t.head_dim;
  const BackwardTiles b(t.scratch, h, t.k_len);
  pair_rows(t.k, t.kv_stride, t.k_len, h, b.k);
  for (Index i = 0; i < t.k_len * h; ++i) {
    b.dk[i] = 0;
    b.dv[i] = 0;
  }
  for (Index i = 0; i < kPanel; ++i) {
    b.scale[i] = static_cast<float>(t.scale);
  }
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += kPanel) {
      const Index rows = begin + kPanel < t.q_len ? kPanel : t.q_len - begin;
      const Index first = t.k_len - t.q_len + begin;
      const Index at = begin * t.q_stride + g * h;
      pack_queries(t, at, rows, b);
      load_statistics(t, g, begin, rows, b.lse2, b.delta);
      const Index begin_block = first_block(t, first);
      for (Index block = begin_block; block < first + rows; block += kKeys) {
        const Index keys = first + rows - block < kKeys ? first + rows - block : kKeys;
        const Index row = block * t.kv_stride;
        pair_product(keys, h / 2, pairs_of(t.k + row), t.kv_stride / 2, 1, b.q, b.scores, false);
        pair_product(keys, h / 2, pairs_of(t.v + row), t.kv_stride / 2, 1, b.dout, b.dp, false);
        finish_scores(t, keys, first - block, b.scores);
        // dS is needed twice: by pairs of queries for dk, by pairs of keys for dq.
        softmax_backward<Bf16, kCapped>(keys, softmax_scale(t), b.lse2, b.delta, b.scores, b.dp,
                                        [&](Index j, Index i, Vector p_first, Vector p_second,
                                            Vector ds_first, Vector ds_second) {
                                          put_rows(rounded(p_first, p_second),
                                                   b.p + j * kPanel + i);
                                          const TwoHalves slopes = rounded(ds_first, ds_second);
                                          put_rows(slopes, b.ds + j * kPanel + i);
                                          store_pairs(slopes, b.ds_pairs + j / 2 * kPanel + i);
                                        });
        for (Index c = 0; c < h; c += kPanel) {
          const Index panel = kPanel / 2 * c;
          const Index to = t.k_len * c + block * kPanel;
          pair_product(keys, (rows + 1) / 2, pairs_of(b.p), kPanel / 2, 1, b.dout_rows + panel,
                       b.dv + to, true);
          pair_product(keys, (rows + 1) / 2, pairs_of(b.ds), kPanel / 2, 1, b.q_rows + panel,
                       b.dk + to, true);
        }
        pair_product(h, (keys + 1) / 2, b.k + block / 2 * h, 1, h, b.ds_pairs, b.dq,
                     block > begin_block);
      }
      store_transposed(b.dq, rows, h, b.scale, t.q_stride, t.dq + at);
    }
  }
  store_key_panels(t, b);
}

}  // namespace
}  // namespace growmerge::ops
