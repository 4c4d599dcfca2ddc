// What one multiply-add takes of a row: a float32, or two bfloat16 that lie one behind another
// (vdpbf16ps: float32 sums). Products over panels: rows of units, up to two vectors wide. A panel
// is packed so that what is multiplied next lies next, in whole vectors.
#pragma once

#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

// 8 by 2 vectors of sums: 16 of AVX-512's 32 registers, enough additions under way at once.
constexpr Index kPanel = 2 * kLanes;  // columns of B that are packed together
constexpr Index kRows = 8;            // of A that are multiplied together

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
#if defined(__AVX512BF16__)
GM_INLINE void multiply_add(Vector& acc, std::uint32_t a, const std::uint32_t* b) {
  acc = (Vector)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(static_cast<int>(a)),
                                 (__m512bh)_mm512_loadu_si512(b));
}

/// Two vectors of bfloat16, one behind the other.
typedef std::uint16_t TwoHalves __attribute__((vector_size(64), aligned(2), may_alias));

GM_INLINE Halves first_of(TwoHalves x) {
  return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
GM_INLINE Halves second_of(TwoHalves x) {
  return __builtin_shufflevector(x, x, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
                                 31);
}

/// Both vectors to bfloat16 by one instruction, whose operands stand the other way around.
GM_INLINE TwoHalves rounded(Vector first, Vector second) {
  return (TwoHalves)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
/// One of the first vector beside one of the second.
GM_INLINE void store_pairs(TwoHalves x, void* to) {
  constexpr TwoHalves order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                               8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  *static_cast<TwoHalves*>(to) = __builtin_shuffle(x, order);
}

/// Units of columns 0 .. 15 and 16 .. 31 of two rows.
struct PairsOfRows {
  TwoHalves low, high;
};
GM_INLINE PairsOfRows pairs_of_rows(const Bf16* x, const Bf16* y) {
  constexpr TwoHalves order = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                               8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const TwoHalves first = *reinterpret_cast<const TwoHalves*>(x);
  const TwoHalves second = *reinterpret_cast<const TwoHalves*>(y);
  return {__builtin_shuffle(first, second, order), __builtin_shuffle(first, second, order + 16)};
}
#endif

GM_INLINE float unit_at(const float* x, Index, bool) { return *x; }
/// Of two values `step` apart; zero for the second where there is none.
GM_INLINE std::uint32_t unit_at(const Bf16* x, Index step, bool has_second) {
  return x[0].bits | (has_second ? static_cast<std::uint32_t>(x[step].bits) << 16 : 0U);
}

typedef std::uint32_t Four __attribute__((vector_size(16), aligned(4), may_alias));

/// to[u + i][c + j] = units u + i of row c + j, four by four: rows are read and written by fours,
/// not one by one.
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
/// x + c * apart, its elements are `step` apart; one of both is 1: where vectors lie side by side a
/// unit of all is a copy, where each lies by itself they turn in registers, four by four.
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

/// Adds MR rows of A [MR, units] times the first NV vectors of one panel of B [units, kPanel] to
/// acc: rows begin `apart` units apart, their units `step` apart. Unit after unit, so the order of
/// a sum is that of K.
template <class T, int MR, int NV>
GM_INLINE void add_product(Index units, const Unit<T>* a, Index apart, Index step,
                           const Unit<T>* panel, Vector (&acc)[MR][NV]) {
#pragma GCC unroll 2
  for (Index u = 0; u < units; ++u) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const Unit<T> x = a[r * apart + u * step];
#pragma GCC unroll 2
      for (int s = 0; s < NV; ++s) {
        multiply_add(acc[r][s], x, panel + s * kLanes);
      }
    }
    panel += kPanel;
  }
}

}  // namespace
}  // namespace growmerge::ops
