// Loads, stores and elementary functions of the kernels, of one element or of a vector of them.
// Everything is in an unnamed namespace: see kernels.h.
//
// Vectors are GCC's, as wide as the instruction set has them, so one text serves all sets, and a
// loop need not be recognised to become vector code. They may lie anywhere and alias (kernels get
// plain arrays).
#pragma once

#include "core/ops/kernels/kernels.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>  // its functions are always inlined, so none is emitted
#endif

#define GM_INLINE inline __attribute__((always_inline))

namespace growmerge::ops {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

constexpr Index kLanes = kVectorBytes / static_cast<Index>(sizeof(float));

typedef float Vector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef std::uint32_t Bits __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef std::uint16_t Halves __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));

/// Whole numbers of the size of a float32, one or a vector of them.
template <class V>
struct BitsOf {
  using type = Bits;
};
template <>
struct BitsOf<float> {
  using type = std::uint32_t;
};

template <class V>
struct ElementOf {
  using type = float;
};
template <>
struct ElementOf<double> {
  using type = double;
};
template <class V>
using Element = typename ElementOf<V>::type;

GM_INLINE float load(float x) { return x; }
GM_INLINE double load(double x) { return x; }
GM_INLINE float load(Bf16 x) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16);
}

GM_INLINE void store(float& to, float x) { to = x; }
GM_INLINE void store(double& to, double x) { to = x; }
/// Bits of a bfloat16: round to nearest even; NaN becomes the quiet NaN 0x7fc0. With AVX512-BF16
/// what is subnormal becomes 0, as that instruction makes it.
template <class V>
GM_INLINE typename BitsOf<V>::type round_to_bf16(V x) {
  using B = typename BitsOf<V>::type;
  B u = __builtin_bit_cast(B, x);
#if defined(__AVX512BF16__)
  u = (u & 0x7f800000U) == B{} ? u & 0x80000000U : u;
#endif
  const B rounded = (u + 0x7fffU + ((u >> 16) & 1U)) >> 16;
  return x != x ? B{} + 0x7fc0U : rounded;
}
GM_INLINE void store(Bf16& to, float x) { to.bits = static_cast<std::uint16_t>(round_to_bf16(x)); }

/// A bfloat16 is the upper half of its float32, exactly.
GM_INLINE Vector widened(Halves x) { return (Vector)(__builtin_convertvector(x, Bits) << 16); }
GM_INLINE Halves rounded(Vector x) {
#if defined(__AVX512BF16__)
  return (Halves)_mm512_cvtneps_pbh((__m512)x);
#else
  return __builtin_convertvector(round_to_bf16(x), Halves);
#endif
}

/// Elements from x on as a V: one, or a vector of them. (A template's argument has lost its
/// alignment and aliasing, so vectors in memory are named Vector.)
template <class V, class T>
GM_INLINE V load_as(const T* x) {
  if constexpr (sizeof(V) == sizeof(Acc<T>)) {
    return load(*x);
  } else if constexpr (sizeof(T) == sizeof(float)) {
    return *reinterpret_cast<const Vector*>(x);
  } else {
    return widened(*reinterpret_cast<const Halves*>(x));
  }
}
template <class V, class T>
GM_INLINE void store_as(T* to, V x) {
  if constexpr (sizeof(V) == sizeof(Acc<T>)) {
    store(*to, x);
  } else if constexpr (sizeof(T) == sizeof(float)) {
    *reinterpret_cast<Vector*>(to) = x;
  } else {
    *reinterpret_cast<Halves*>(to) = rounded(x);
  }
}

/// Calls fn.operator()<V>(i) with a vector V, or one element where none fits, until all n elements
/// have been covered.
template <class T, class Fn>
GM_INLINE void for_elements(Index n, Fn&& fn) {
  Index i = 0;
  if constexpr (sizeof(Acc<T>) == sizeof(float)) {
    for (; i + kLanes <= n; i += kLanes) {
      fn.template operator()<Vector>(i);
    }
  }
  for (; i < n; ++i) {
    fn.template operator()<Acc<T>>(i);
  }
}

/// A sum of what for_elements() comes by: each lane has its own, they are added up last, by halves.
/// A lane's sum is short, so it loses fewer digits than one long sum, and no addition waits for its
/// neighbour's.
template <class A>
class Sum {
 public:
  GM_INLINE void add(Vector x) { lanes_ += x; }
  GM_INLINE void add(A x) { rest_ += x; }
  GM_INLINE A total() {
    for (Index half = kLanes / 2; half > 0; half /= 2) {
      for (Index i = 0; i < half; ++i) {
        lanes_[i] += lanes_[half + i];
      }
    }
    return static_cast<A>(lanes_[0]) + rest_;
  }

 private:
  Vector lanes_{};
  A rest_ = 0;
};

/// exp of x <= 1, as behind a maximum, within 2 ulp; 0 below -87.3, where the result would be
/// subnormal; NaN stays NaN. Cody-Waite reduction by ln 2 and a degree-6 polynomial on
/// [-ln2/2, ln2/2] fitted for the least maximal error (3e-9).
template <class V>
GM_INLINE V exp_below_one(V x) {
  using B = typename BitsOf<V>::type;
  // Adding 1.5 2^23 rounds to a whole number, as no fraction bits are left there.
  const V shifted = x * 1.44269504F + 12583039.0F;  // 1.5 2^23 + 127: its low bits are n + 127
  const V n = shifted - 12583039.0F;
  // ln 2 in two parts, the first with so few bits that n times it is exact: r keeps its digits.
  const V r = (x - n * 0.693145752F) - n * 1.42860677e-6F;
  V p = V{} + 1.3950475e-3F;
  p = p * r + 8.3688824e-3F;
  p = p * r + 4.1666206e-2F;
  p = p * r + 0.16666520F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const B power = __builtin_bit_cast(B, shifted) << 23;  // n + 127 is 2^n's exponent field
  return x < V{} - 87.3F ? V{} : p * __builtin_bit_cast(V, power);
}
GM_INLINE double exp_below_one(double x) { return __builtin_exp(x); }

constexpr double kLog2E = 1.44269504088896340736;

/// 2^x of x <= 1, for results of type T: within 3e-6 of it for those that will be rounded to
/// bfloat16, else within 2e-7 (float64: its own rounding); 0 below -126; NaN stays NaN.
/// Polynomials of degree 4 and 5 on [-1/2, 1/2] fitted for the least maximal error.
template <class T, class V>
GM_INLINE V exp2_below_one(V x) {
  if constexpr (sizeof(Element<V>) == sizeof(double)) {
    return __builtin_exp2(x);
  } else {
    using B = typename BitsOf<V>::type;
    const V shifted = x + 12583039.0F;  // 1.5 2^23 + 127: its low bits are n + 127
    const V r = x - (shifted - 12583039.0F);
    V p{};
    if constexpr (sizeof(T) < sizeof(float)) {
      p += 9.58281476e-3F;
      p = p * r + 5.59068173e-2F;
      p = p * r + 0.240241021F;
      p = p * r + 0.693124175F;
    } else {
      p += 1.32646586e-3F;
      p = p * r + 9.67156608e-3F;
      p = p * r + 5.55073433e-2F;
      p = p * r + 0.240222409F;
      p = p * r + 0.693147004F;
    }
    p = p * r + 1.0F;
    const B power = __builtin_bit_cast(B, shifted) << 23;
    return x < V{} - 126.0F ? V{} : p * __builtin_bit_cast(V, power);
  }
}

/// |x|: the sign bit is cleared.
template <class V>
GM_INLINE V magnitude(V x) {
  using B = typename BitsOf<V>::type;
  return __builtin_bit_cast(V, __builtin_bit_cast(B, x) & 0x7fffffffU);
}
GM_INLINE double magnitude(double x) { return __builtin_fabs(x); }

/// 1 / (1 + exp(-x)) without an overflow on either side: exp(-|x|) is at most 1, and e / (1 + e) is
/// the same for negative x.
template <class V>
GM_INLINE V sigmoid(V x) {
  const V e = exp_below_one(-magnitude(x));
  const V s = 1.0F / (1.0F + e);
  return x < V{} ? e * s : s;
}

/// tanh within 2 ulp. float32: an odd polynomial fitted for the least maximal relative error (5e-9)
/// below 0.625, where 1 - e would lose the digits of e = exp(-2 |x|), and (1 - e) / (1 + e) above.
template <class V>
GM_INLINE V tanh_of(V x) {
  const V s = x * x;
  V p = V{} - 5.70479361e-3F;
  p = p * s + 2.06388962e-2F;
  p = p * s + -5.37396483e-2F;
  p = p * s + 0.133314416F;
  p = p * s + -0.333332807F;
  const V absolute = magnitude(x);
  const V e = exp_below_one(-2.0F * absolute);
  const V outer = (1.0F - e) / (1.0F + e);
  return absolute < V{} + 0.625F ? x + x * s * p : x < V{} ? -outer : outer;
}
GM_INLINE double tanh_of(double x) { return __builtin_tanh(x); }

/// The standard normal's distribution function. float32: erf by an odd polynomial below |z| = 1,
/// erfc(z) = exp(-z^2) t Q(t), t = 1 / (1 + 0.3275911 z) above (fitted on [1, 10], relative error
/// 2e-9).
template <class V>
GM_INLINE V normal_cdf(V x) {
  const V z = x * 0.70710678F;
  const V s = z * z;
  const V absolute = magnitude(z);
  V e = V{} - 9.6801437e-6F;
  e = e * s + 1.1270546e-4F;
  e = e * s + -8.4847136e-4F;
  e = e * s + 5.2210749e-3F;
  e = e * s + -2.6865445e-2F;
  e = e * s + 0.11283783F;
  e = e * s + -0.37612638F;
  e = e * s + 1.1283792F;
  const V t = 1.0F / (1.0F + 0.3275911F * absolute);
  V q = V{} - 6.1822232e-2F;
  q = q * t + 0.12508854F;
  q = q * t + 5.6998413e-3F;
  q = q * t + 9.9711955e-2F;
  q = q * t + 0.13581529F;
  q = q * t + 0.14964336F;
  q = q * t + 0.17633955F;
  q = q * t + 0.18463445F;
  q = q * t + 0.18483362F;
  const V tail = 0.5F * exp_below_one(-s) * t * q;
  const V outer = z < V{} ? tail : 1.0F - tail;
  return absolute < V{} + 1.0F ? 0.5F + 0.5F * z * e : outer;
}
GM_INLINE double normal_cdf(double x) { return 0.5 * __builtin_erfc(-x * 0.70710678118654752440); }

}  // namespace
}  // namespace growmerge::ops
