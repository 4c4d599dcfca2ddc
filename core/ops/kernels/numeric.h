// Loads, stores and elementary functions of the kernels, written so that the compiler vectorises
// loops over them. Everything is in an unnamed namespace: see kernels.h.
#pragma once

#include "core/ops/kernels/kernels.h"

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

GM_INLINE float load(float x) { return x; }
GM_INLINE double load(double x) { return x; }
GM_INLINE float load(Bf16 x) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16);
}

GM_INLINE void store(float& to, float x) { to = x; }
GM_INLINE void store(double& to, double x) { to = x; }
/// Round to nearest even; NaN becomes the quiet NaN 0x7fc0.
GM_INLINE void store(Bf16& to, float x) {
  const std::uint32_t u = __builtin_bit_cast(std::uint32_t, x);
  const std::uint32_t rounded = (u + 0x7fffU + ((u >> 16) & 1U)) >> 16;
  to.bits = static_cast<std::uint16_t>(x != x ? 0x7fc0U : rounded);
}

/// exp of x <= 1, as behind a maximum, within 2 ulp; 0 below -87.3, where the result would be
/// subnormal; NaN stays NaN. Cody-Waite reduction by ln 2 and a degree-6 polynomial on
/// [-ln2/2, ln2/2] fitted for the least maximal error (3e-9).
GM_INLINE float exp_below_one(float x) {
  const float shifted = x * 1.44269504F + 12583039.0F;  // 1.5 2^23 + 127: its low bits are n + 127
  const float n = shifted - 12583039.0F;
  const float r = (x - n * 0.693145752F) - n * 1.42860677e-6F;
  float p = 1.3950475e-3F;
  p = p * r + 8.3688824e-3F;
  p = p * r + 4.1666206e-2F;
  p = p * r + 0.16666520F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const std::uint32_t power = __builtin_bit_cast(std::uint32_t, shifted) << 23;
  return x < -87.3F ? 0.0F : p * __builtin_bit_cast(float, power);
}
GM_INLINE double exp_below_one(double x) { return __builtin_exp(x); }

GM_INLINE float magnitude(float x) { return __builtin_fabsf(x); }
GM_INLINE double magnitude(double x) { return __builtin_fabs(x); }

/// 1 / (1 + exp(-x)) without an overflow on either side.
template <class A>
GM_INLINE A sigmoid(A x) {
  const A e = exp_below_one(-magnitude(x));
  const A s = A(1) / (A(1) + e);
  return x < A(0) ? e * s : s;
}

/// The standard normal's distribution function. float32: erf by an odd polynomial below |z| = 1,
/// erfc(z) = exp(-z^2) t Q(t), t = 1 / (1 + 0.3275911 z) above (fitted on [1, 10], relative error
/// 2e-9).
GM_INLINE float normal_cdf(float x) {
  const float z = x * 0.70710678F;
  const float s = z * z;
  const float absolute = magnitude(z);
  float e = -9.6801437e-6F;
  e = e * s + 1.1270546e-4F;
  e = e * s + -8.4847136e-4F;
  e = e * s + 5.2210749e-3F;
  e = e * s + -2.6865445e-2F;
  e = e * s + 0.11283783F;
  e = e * s + -0.37612638F;
  e = e * s + 1.1283792F;
  const float t = 1.0F / (1.0F + 0.3275911F * absolute);
  float q = -6.1822232e-2F;
  q = q * t + 0.12508854F;
  q = q * t + 5.6998413e-3F;
  q = q * t + 9.9711955e-2F;
  q = q * t + 0.13581529F;
  q = q * t + 0.14964336F;
  q = q * t + 0.17633955F;
  q = q * t + 0.18463445F;
  q = q * t + 0.18483362F;
  const float tail = 0.5F * exp_below_one(-s) * t * q;
  const float outer = z < 0.0F ? tail : 1.0F - tail;
  return absolute < 1.0F ? 0.5F + 0.5F * z * e : outer;
}
GM_INLINE double normal_cdf(double x) { return 0.5 * __builtin_erfc(-x * 0.70710678118654752440); }

}  // namespace
}  // namespace growmerge::ops
