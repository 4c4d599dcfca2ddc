// Products of matrices on one thread: 8 rows by two vectors of sums in registers, A and B in blocks
// that stay in cache (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
// Multiplication"). A unit is what one multiply-add takes of a row of A: a float32, or two bfloat16
// that lie one behind another (vdpbf16ps: float32 sums).
#if defined(__AVX512F__)
#pragma GCC target("avx512bf16")  // only called where gemm of bf16 is; see kernel_set.cpp
#include <immintrin.h>            // its functions are always inlined, so none is emitted
#endif

#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

#if defined(__AVX512F__)
constexpr Index kLanes = 16;
#elif defined(__AVX2__)
constexpr Index kLanes = 8;
#else
constexpr Index kLanes = 4;
#endif
constexpr Index kPanel = 2 * kLanes;  // columns of B that are packed together
constexpr Index kRows = 8;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

template <class T>
struct UnitOf {
  using type = float;
  static constexpr Index kDepth = 1;
};
template <>
struct UnitOf<Bf16> {
  typedef std::uint32_t type __attribute__((may_alias));
  static constexpr Index kDepth = 2;
};
template <class T>
using Unit = typename UnitOf<T>::type;

GM_INLINE void multiply_add(Vector& acc, float a, const float* b) {
  acc += a * *reinterpret_cast<const Vector*>(b);
}
#if defined(__AVX512F__)
GM_INLINE void multiply_add(Vector& acc, std::uint32_t a, const std::uint32_t* b) {
  acc = (Vector)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(static_cast<int>(a)),
                                 (__m512bh)_mm512_loadu_si512(b));
}
#endif

GM_INLINE float unit_at(const float* x, Index, bool) { return *x; }
/// Of two values `step` apart; zero for the second where there is none.
GM_INLINE std::uint32_t unit_at(const Bf16* x, Index step, bool has_second) {
  return x[0].bits | (has_second ? static_cast<std::uint32_t>(x[step].bits) << 16 : 0U);
}

typedef std::uint32_t Four __attribute__((vector_size(16), aligned(4), may_alias));

/// to[u + i][c + j] = units u + i of row c + j, four by four.
GM_INLINE void transpose_four(const std::uint32_t* const (&row)[4], Index u, Index width,
                              std::uint32_t* to) {
  const Four a = *reinterpret_cast<const Four*>(row[0] + u);
  const Four b = *reinterpret_cast<const Four*>(row[1] + u);
  const Four c = *reinterpret_cast<const Four*>(row[2] + u);
  const Four d = *reinterpret_cast<const Four*>(row[3] + u);
  const Four ab0 = __builtin_shuffle(a, b, Four{0, 4, 1, 5});
  const Four ab1 = __builtin_shuffle(a, b, Four{2, 6, 3, 7});
  const Four cd0 = __builtin_shuffle(c, d, Four{0, 4, 1, 5});
  const Four cd1 = __builtin_shuffle(c, d, Four{2, 6, 3, 7});
  *reinterpret_cast<Four*>(to) = __builtin_shuffle(ab0, cd0, Four{0, 1, 4, 5});
  *reinterpret_cast<Four*>(to + width) = __builtin_shuffle(ab0, cd0, Four{2, 3, 6, 7});
  *reinterpret_cast<Four*>(to + 2 * width) = __builtin_shuffle(ab1, cd1, Four{0, 1, 4, 5});
  *reinterpret_cast<Four*>(to + 3 * width) = __builtin_shuffle(ab1, cd1, Four{2, 3, 6, 7});
}

/// to[u][c] = unit u of vector c, for c in [0, count), zero up to kWidth. Vector c begins at
/// x + c * apart, its elements are `step` apart; one of both is 1.
template <class T, Index kWidth>
void pack(Index k, Index count, const T* x, Index apart, Index step, Unit<T>* to) {
  constexpr Index kDepth = UnitOf<T>::kDepth;
  const Index whole = k / kDepth;
  Index done = 0;  // units that are packed
  if (apart == 1 && count == kWidth) {
    for (; done < whole; ++done) {
      const T* from = x + done * kDepth * step;
#pragma omp simd
      for (Index c = 0; c < kWidth; ++c) {
        to[done * kWidth + c] = unit_at(from + c, step, true);
      }
    }
  } else if (step == 1 && count % 4 == 0 && apart % kDepth == 0) {
    for (Index c = 0; c < count; c += 4) {
      const std::uint32_t* row[4];
      for (Index j = 0; j < 4; ++j) {
        row[j] = reinterpret_cast<const std::uint32_t*>(x + (c + j) * apart);
      }
      for (done = 0; done + 4 <= whole; done += 4) {
        transpose_four(row, done, kWidth, reinterpret_cast<std::uint32_t*>(to + done * kWidth + c));
      }
    }
    for (Index u = 0; u < done; ++u) {
      for (Index c = count; c < kWidth; ++c) {
        to[u * kWidth + c] = Unit<T>{};
      }
    }
  }
  for (Index u = done; u * kDepth < k; ++u) {
    const T* from = x + u * kDepth * step;
    for (Index c = 0; c < kWidth; ++c) {
      to[u * kWidth + c] = c < count ? unit_at(from + c * apart, step, u < whole) : Unit<T>{};
    }
  }
}

/// What of a product is being made: rows from i, over so many units of K.
struct Part {
  Index i = 0, units = 0;
  bool add = false;
};

/// `rows` rows of sums, [rows, kPanel], go to the result's columns from j.
template <class T>
void write(const GemmTask<T>& t, const Part& part, Index rows, Index j, float* tile) {
  const Index width = t.n - j < kPanel ? t.n - j : kPanel;
  for (Index r = 0; r < rows; ++r) {
    const float* row = tile + r * kPanel;
    if (t.row_scale != nullptr) {
      for (Index c = 0; c < kPanel; ++c) {
        tile[r * kPanel + c] *= t.row_scale[part.i + r];
      }
    }
    const Index at = (part.i + r) * t.c_row + j;
    if (t.sum != nullptr) {
      float* to = t.sum + at;
#pragma omp simd
      for (Index c = 0; c < width; ++c) {
        to[c] = part.add ? to[c] + row[c] : row[c];
      }
    } else {
      T* to = t.c + at;
#pragma omp simd
      for (Index c = 0; c < width; ++c) {
        store(to[c], part.add ? load(to[c]) + row[c] : row[c]);
      }
    }
  }
}

/// MR rows of A by one panel of B. Rows begin `apart` units apart, their units `step` apart.
template <class T, int MR>
GM_INLINE void multiply(const GemmTask<T>& t, const Part& part, Index j, const Unit<T>* a,
                        Index apart, Index step, const Unit<T>* panel) {
  Vector acc[MR][2];
  const Unit<T>* row[MR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
    acc[r][0] = acc[r][1] = Vector{};
    row[r] = a + r * apart;
  }
  for (Index u = 0; u < part.units; ++u) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const Unit<T> x = row[r][u * step];
      multiply_add(acc[r][0], x, panel);
      multiply_add(acc[r][1], x, panel + kLanes);
    }
    panel += kPanel;
  }
  alignas(64) float tile[MR * kPanel];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
    *reinterpret_cast<Vector*>(tile + r * kPanel) = acc[r][0];
    *reinterpret_cast<Vector*>(tile + r * kPanel + kLanes) = acc[r][1];
  }
  write(t, part, MR, j, tile);
}

/// Rows part.i .. last_row of A, which begin at `a`, by one panel of B.
template <class T>
void multiply_rows(const GemmTask<T>& t, Part part, Index last_row, Index j, const Unit<T>* a,
                   Index apart, bool is_packed, const Unit<T>* panel) {
  while (part.i < last_row) {
    const Index rows = last_row - part.i >= kRows ? kRows : (last_row - part.i >= 4 ? 4 : 1);
    if (is_packed) {  // as [units][kRows]
      if (rows == kRows) {
        multiply<T, kRows>(t, part, j, a, 1, kRows, panel);
        a += kRows * part.units;
      } else {
        if (rows == 4) {
          multiply<T, 4>(t, part, j, a, 1, kRows, panel);
        } else {
          multiply<T, 1>(t, part, j, a, 1, kRows, panel);
        }
        a += rows;
      }
    } else {
      if (rows == kRows) {
        multiply<T, kRows>(t, part, j, a, apart, 1, panel);
      } else if (rows == 4) {
        multiply<T, 4>(t, part, j, a, apart, 1, panel);
      } else {
        multiply<T, 1>(t, part, j, a, apart, 1, panel);
      }
      a += rows * apart;
    }
    part.i += rows;
  }
}

/// `count` rows of A, which lie beside each other in memory, to [row / kRows][u][row % kRows]: each
/// line of memory is read once.
template <class T>
void pack_side_by_side(Index k, Index count, const T* x, Index step, Unit<T>* to) {
  constexpr Index kDepth = UnitOf<T>::kDepth;
  const Index units = (k + kDepth - 1) / kDepth;
  for (Index u = 0; u < units; ++u) {
    const T* from = x + u * kDepth * step;
    const bool has_second = u < k / kDepth;
    Index r = 0;
    for (; r + kRows <= count && has_second; r += kRows) {
#pragma omp simd
      for (Index c = 0; c < kRows; ++c) {
        to[r * units + u * kRows + c] = unit_at(from + r + c, step, true);
      }
    }
    for (; r < count; ++r) {
      to[r / kRows * kRows * units + u * kRows + r % kRows] = unit_at(from + r, step, has_second);
    }
  }
}

template <class T>
void gemm(const GemmTask<T>& t) {
  constexpr Index kDepth = UnitOf<T>::kDepth;
  // A result that is rounded must be rounded once, so it needs all of K at once.
  const bool whole = kDepth > 1 && t.sum == nullptr;
  const Index depth = whole ? t.k : kGemmDepth * kDepth;
  auto* packed_a = static_cast<Unit<T>*>(t.scratch);
  Unit<T>* packed_b = packed_a + kGemmRows * ((depth + kDepth - 1) / kDepth);
  for (Index p = 0; p < t.k; p += depth) {
    const Index k = t.k - p < depth ? t.k - p : depth;
    Part part;
    part.units = (k + kDepth - 1) / kDepth;
    part.add = t.accumulate || p > 0;
    const bool pack_rows = t.a_col != 1 || k % kDepth != 0 || t.a_row % kDepth != 0;
    const Index most = kGemmBlock / part.units / kPanel * kPanel;
    const Index fit = most < kPanel ? kPanel : most;
    for (Index first = 0; first < t.n; first += fit) {
      const Index last = t.n - first < fit ? t.n : first + fit;
      for (Index j = first; j < last; j += kPanel) {
        pack<T, kPanel>(k, t.n - j < kPanel ? t.n - j : kPanel, t.b + p * t.b_row + j * t.b_col,
                        t.b_col, t.b_row, packed_b + (j - first) * part.units);
      }
      for (Index i = 0; i < t.m; i += kGemmRows) {
        const Index last_row = t.m - i < kGemmRows ? t.m : i + kGemmRows;
        const T* from = t.a + i * t.a_row + p * t.a_col;
        const auto* a = reinterpret_cast<const Unit<T>*>(from);
        if (pack_rows && t.a_row == 1) {
          pack_side_by_side(k, last_row - i, from, t.a_col, packed_a);
          a = packed_a;
        } else if (pack_rows) {
          for (Index r = i; r < last_row; r += kRows) {
            pack<T, kRows>(k, last_row - r < kRows ? last_row - r : kRows, from + (r - i) * t.a_row,
                           t.a_row, t.a_col, packed_a + (r - i) * part.units);
          }
          a = packed_a;
        }
        part.i = i;
        for (Index j = first; j < last; j += kPanel) {
          multiply_rows(t, part, last_row, j, a, t.a_row / kDepth, pack_rows,
                        packed_b + (j - first) * part.units);
        }
      }
    }
  }
}

}  // namespace

namespace GM_ISA {
void fill_gemm(KernelSet& set) {
  set.f32.gemm = gemm<float>;
#if defined(__AVX512F__)
  set.bf16.gemm = __builtin_cpu_supports("avx512bf16") != 0 ? gemm<Bf16> : nullptr;
#endif
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
