// Products of small tiles that stay in cache: C[M, N] (+)= A[M, K] B[K, N], B and C row-major, A by
// any two strides. N is a multiple of 4 or handled a column at a time.
//
// Sums of a micro tile stay in registers over all of K and meet C once. Its size is a constant, so
// that every loop over it is unrolled: else the sums would be indexed at run time and lie in
// memory.
#pragma once

#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

/// W elements; may_alias, because tiles are arrays of A.
template <class A, int W>
struct VectorOf {
  typedef A type __attribute__((vector_size(W * sizeof(A)), aligned(sizeof(A)), may_alias));
};
template <class A>
struct VectorOf<A, 1> {
  typedef A type;
};

template <class A>
struct TileProduct {
  Index m, n, k;
  const A* a;          // [m, k]
  Index a_row, a_col;  // strides of A
  const A* b;          // [k, n]
  Index b_row;
  A* c;  // [m, n]
  Index c_row;
  bool accumulate;
};

/// C [MR, NR W] from row i and column j on. An element of A is multiplied into NR vectors of a row
/// of B.
template <class A, int W, int MR, int NR>
GM_INLINE void micro_tile(const TileProduct<A>& t, Index i, Index j) {
  using V = typename VectorOf<A, W>::type;
  V acc[MR][NR];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < NR; ++s) {
      acc[r][s] = V{};
    }
  }
  const A* a = t.a + i * t.a_row;
  const A* b = t.b + j;
#pragma GCC unroll 2
  for (Index p = 0; p < t.k; ++p) {
    V bv[NR];
#pragma GCC unroll 4
    for (int s = 0; s < NR; ++s) {
      bv[s] = *reinterpret_cast<const V*>(b + s * W);
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const A x = a[r * t.a_row];
#pragma GCC unroll 4
      for (int s = 0; s < NR; ++s) {
        acc[r][s] += x * bv[s];
      }
    }
    a += t.a_col;
    b += t.b_row;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < NR; ++s) {
      V* out = reinterpret_cast<V*>(t.c + (i + r) * t.c_row + j + s * W);
      *out = t.accumulate ? *out + acc[r][s] : acc[r][s];
    }
  }
}

/// All rows of NR W columns from j on: 6 by 2 vectors of sums, two of B and one element of A fit
/// the 16 registers of AVX2.
template <class A, int W, int NR>
GM_INLINE void column_of_tiles(const TileProduct<A>& t, Index j) {
  Index i = 0;
  for (; i + 6 <= t.m; i += 6) {
    micro_tile<A, W, 6, NR>(t, i, j);
  }
  for (; i + 2 <= t.m; i += 2) {
    micro_tile<A, W, 2, NR>(t, i, j);
  }
  for (; i < t.m; ++i) {
    micro_tile<A, W, 1, NR>(t, i, j);
  }
}

/// Columns by two whole vectors, by one, then by the shorter ones that heads like 8, 12 or 20 need.
template <class A>
void tile_gemm(const TileProduct<A>& t) {
  constexpr int W = kVectorBytes / static_cast<int>(sizeof(A));
  Index j = 0;
  for (; j + 2 * W <= t.n; j += 2 * W) {
    column_of_tiles<A, W, 2>(t, j);
  }
  for (; j + W <= t.n; j += W) {
    column_of_tiles<A, W, 1>(t, j);
  }
  if constexpr (W > 8) {
    for (; j + 8 <= t.n; j += 8) {
      column_of_tiles<A, 8, 1>(t, j);
    }
  }
  if constexpr (W > 4) {
    for (; j + 4 <= t.n; j += 4) {
      column_of_tiles<A, 4, 1>(t, j);
    }
  }
  for (; j < t.n; ++j) {
    column_of_tiles<A, 1, 1>(t, j);
  }
}

}  // namespace
}  // namespace growmerge::ops
