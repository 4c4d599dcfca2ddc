// Causal attention of one segment and one group of heads, in blocks with a running maximum
// (Dao et al. 2022, arXiv 2205.14135). All tiles are in the type of sums.
#include "core/ops/kernels/tile_gemm.h"

namespace growmerge::ops {
namespace {

constexpr Index kB = kAttentionBlock;
constexpr Index kColumns = 16;

Index padded(Index n) { return (n + kB - 1) / kB * kB; }

// to[c][j] = from[j][c] for j in [0, len), in rows of `width`.
template <class T>
void load_transposed(const T* from, Index stride, Index len, Index h, Index width, Acc<T>* to) {
  for (Index j = 0; j < len; ++j) {
    for (Index c = 0; c < h; ++c) {
      to[c * width + j] = load(from[j * stride + c]);
    }
  }
}

// to[c][j] = 0 for j in [len, width).
template <class A>
void zero_columns(Index len, Index h, Index width, A* to) {
  for (Index c = 0; c < h; ++c) {
    for (Index j = len; j < width; ++j) {
      to[c * width + j] = 0;
    }
  }
}

template <class T>
void load_rows(const T* from, Index stride, Index len, Index height, Index h, Acc<T> scale,
               Acc<T>* to) {
  for (Index j = 0; j < len; ++j) {
#pragma omp simd
    for (Index c = 0; c < h; ++c) {
      to[j * h + c] = load(from[j * stride + c]) * scale;
    }
  }
  for (Index c = len * h; c < height * h; ++c) {
    to[c] = 0;
  }
}

template <class A>
Index allowed(Index position, Index block) {
  const Index n = position - block * kB + 1;
  return n < 0 ? 0 : (n > kB ? kB : n);
}

// One row of scores -> exp(score - new maximum), zeros from `valid` to `columns`; the row of the
// output is rescaled.
template <class A>
GM_INLINE void softmax_row(A* s, Index valid, Index columns, Index h, A* high, A* total, A* out) {
  A top = *high;
#pragma omp simd reduction(max : top)
  for (Index j = 0; j < valid; ++j) {
    top = s[j] > top ? s[j] : top;
  }
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < valid; ++j) {
    const A e = exp_of(s[j] - top);
    s[j] = e;
    sum += e;
  }
  for (Index j = valid; j < columns; ++j) {
    s[j] = 0;
  }
  const A keep = exp_of(*high - top);
  *total = *total * keep + sum;
  *high = top;
  if (keep != A(1)) {
#pragma omp simd
    for (Index c = 0; c < h; ++c) {
      out[c] *= keep;
    }
  }
}

template <class T>
void attention_forward(const AttentionTask<T>& t) {
  using A = Acc<T>;
  const Index h = t.head_dim;
  const Index width = padded(t.k_len);
  const Index offset = t.k_len - t.q_len;
  A* kt = t.scratch;
  A* v = kt + width * h;
  A* q = v + width * h;
  A* out = q + kB * h;
  A* scores = out + kB * h;
  A* high = scores + kB * kB;
  A* total = high + kB;
  for (Index j = 0; j < t.prefix_len; ++j) {
    const Index row = t.prefix_rows[j] * t.kv_stride;
    load_transposed(t.prefix_k + row, t.kv_stride, 1, h, width, kt + j);
    load_rows(t.prefix_v + row, t.kv_stride, 1, 1, h, A(1), v + j * h);
  }
  const Index own = t.k_len - t.prefix_len;
  load_transposed(t.k, t.kv_stride, own, h, width, kt + t.prefix_len);
  zero_columns(t.k_len, h, width, kt);
  load_rows(t.v, t.kv_stride, own, width - t.prefix_len, h, A(1), v + t.prefix_len * h);
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += kB) {
      const Index rows = begin + kB < t.q_len ? kB : t.q_len - begin;
      load_rows(t.q + begin * t.q_stride + g * h, t.q_stride, rows, rows, h,
                static_cast<A>(t.scale), q);
      for (Index i = 0; i < rows; ++i) {
        high[i] = A(-1e30);
        total[i] = 0;
      }
      for (Index i = 0; i < rows * h; ++i) {
        out[i] = 0;
      }
      const Index last_block = (offset + begin + rows - 1) / kB;
      for (Index block = 0; block <= last_block; ++block) {
        // Keys that some query of these sees; a few more fill the vectors.
        const Index seen = allowed<A>(offset + begin + rows - 1, block);
        const Index columns = (seen + kColumns - 1) / kColumns * kColumns;
        tile_gemm<A>({rows, columns, h, q, h, 1, kt + block * kB, width, scores, kB, false});
        for (Index i = 0; i < rows; ++i) {
          softmax_row(scores + i * kB, allowed<A>(offset + begin + i, block), columns, h, high + i,
                      total + i, out + i * h);
        }
        tile_gemm<A>({rows, h, columns, scores, kB, 1, v + block * kB * h, h, out, h, true});
      }
      for (Index i = 0; i < rows; ++i) {
        const A inverse = A(1) / total[i];
        T* to = t.out + (begin + i) * t.q_stride + g * h;
#pragma omp simd
        for (Index c = 0; c < h; ++c) {
          store(to[c], out[i * h + c] * inverse);
        }
        if (t.lse != nullptr) {
          t.lse[g * t.lse_stride + begin + i] =
              high[i] + static_cast<A>(__builtin_log(static_cast<double>(total[i])));
        }
      }
    }
  }
}

// With P = exp(S - lse), D = rowsum(dO * O):  dV = P^T dO,  dP = dO V^T,  dS = P (dP - D),
// dQ = scale dS K,  dK = dS^T (scale Q).
template <class T>
void attention_backward(const AttentionTask<T>& t) {
  using A = Acc<T>;
  const Index h = t.head_dim;
  const Index width = padded(t.k_len);
  const Index offset = t.k_len - t.q_len;
  A* kt = t.scratch;
  A* vt = kt + width * h;
  A* k = vt + width * h;
  A* dk = k + width * h;
  A* dv = dk + width * h;
  A* q = dv + width * h;
  A* dout = q + kB * h;
  A* dq = dout + kB * h;
  A* p = dq + kB * h;
  A* ds = p + kB * kB;
  A* delta = ds + kB * kB;
  load_transposed(t.k, t.kv_stride, t.k_len, h, width, kt);
  load_transposed(t.v, t.kv_stride, t.k_len, h, width, vt);
  zero_columns(t.k_len, h, width, kt);
  zero_columns(t.k_len, h, width, vt);
  load_rows(t.k, t.kv_stride, t.k_len, width, h, A(1), k);
  for (Index i = 0; i < width * h; ++i) {
    dk[i] = 0;
    dv[i] = 0;
  }
  for (Index g = 0; g < t.group; ++g) {
    for (Index begin = 0; begin < t.q_len; begin += kB) {
      const Index rows = begin + kB < t.q_len ? kB : t.q_len - begin;
      const Index at = begin * t.q_stride + g * h;
      load_rows(t.q + at, t.q_stride, rows, rows, h, static_cast<A>(t.scale), q);
      load_rows(t.dout + at, t.q_stride, rows, rows, h, A(1), dout);
      for (Index i = 0; i < rows; ++i) {
        const T* out = t.out + at + i * t.q_stride;
        A sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Index c = 0; c < h; ++c) {
          sum += dout[i * h + c] * load(out[c]);
        }
        delta[i] = sum;
      }
      const Index last_block = (offset + begin + rows - 1) / kB;
      for (Index block = 0; block <= last_block; ++block) {
        tile_gemm<A>({rows, kB, h, q, h, 1, kt + block * kB, width, p, kB, false});
        tile_gemm<A>({rows, kB, h, dout, h, 1, vt + block * kB, width, ds, kB, false});
        for (Index i = 0; i < rows; ++i) {
          const Index valid = allowed<A>(offset + begin + i, block);
          const A lse = t.lse[g * t.lse_stride + begin + i];
          const A d = delta[i];
          A* pi = p + i * kB;
          A* dsi = ds + i * kB;
#pragma omp simd
          for (Index j = 0; j < valid; ++j) {
            const A e = exp_of(pi[j] - lse);
            pi[j] = e;
            dsi[j] = e * (dsi[j] - d);
          }
          for (Index j = valid; j < kB; ++j) {
            pi[j] = 0;
            dsi[j] = 0;
          }
        }
        A* dvb = dv + block * kB * h;
        A* dkb = dk + block * kB * h;
        tile_gemm<A>({kB, h, rows, p, 1, kB, dout, h, dvb, h, true});
        tile_gemm<A>({kB, h, rows, ds, 1, kB, q, h, dkb, h, true});
        tile_gemm<A>({rows, h, kB, ds, kB, 1, k + block * kB * h, h, dq, h, block > 0});
      }
      for (Index i = 0; i < rows; ++i) {
        T* to = t.dq + at + i * t.q_stride;
        for (Index c = 0; c < h; ++c) {
          store(to[c], dq[i * h + c] * static_cast<A>(t.scale));
        }
      }
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
