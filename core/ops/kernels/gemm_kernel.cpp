// Products of matrices on one thread: 8 rows by two vectors of sums in registers, A and B in blocks
// that stay in cache (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix
// Multiplication").
#include "core/ops/kernels/units.h"

namespace growmerge::ops {
namespace {

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
  const auto* to = t.sum != nullptr ? reinterpret_cast<const char*>(t.sum + part.i * t.c_row + j)
                                    : reinterpret_cast<const char*>(t.c + part.i * t.c_row + j);
  const Index bytes = t.c_row * static_cast<Index>(t.sum != nullptr ? sizeof(float) : sizeof(T));
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
    __builtin_prefetch(to + r * bytes, 1);
    __builtin_prefetch(to + r * bytes + 64, 1);
  }
  Vector acc[MR][2];
  panel_sums<T, MR>(part.units, a, apart, step, panel, acc);
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
