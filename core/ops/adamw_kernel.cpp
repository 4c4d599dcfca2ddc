#include "core/ops/adamw_kernel.h"

// Compiled with options of its own (core/CMakeLists.txt): -O3, no contraction, no errno. Without
// contraction a * b + c is rounded twice everywhere, so that a step has the same bits on a
// processor without fused multiply-adds and on a GPU (core/ops/adamw.cu); without errno, sqrt is an
// instruction and the loops become vector code.
//
// It shares nothing with core/ops/kernels/, which is compiled the other way.
namespace growmerge::adamw {
namespace {

#define GM_INLINE inline __attribute__((always_inline))

GM_INLINE float root(float x) { return __builtin_sqrtf(x); }
GM_INLINE double root(double x) { return __builtin_sqrt(x); }

/// To the nearest, ties to even: half of the last kept bit is added, a little less where that bit
/// is 0, and the rest is cut off. NaN by itself, of which that could make an infinity.
GM_INLINE std::uint16_t round_to_bf16(float value) {
  std::uint32_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<std::uint16_t>(nan ? 0x7FC0U : rounded);
}

/// One pass over four arrays [n] (and the copy): AdamW is bound by memory, so everything that is
/// done to an element is done while it is in a register. kCopy is a constant, so that the loop
/// has no branch.
template <class T, bool kCopy>
GM_INLINE void step_body(const Arrays<T>& arrays, std::uint16_t* bf16, std::int64_t n,
                         const Factors& f) {
  // None overlaps another; else the compiler would have to reload after every store.
  T* __restrict__ param = arrays.param;
  const T* __restrict__ grad = arrays.grad;
  T* __restrict__ m = arrays.m;
  T* __restrict__ v = arrays.v;
  std::uint16_t* __restrict__ copy = bf16;
  // Rounded to T once: 1 - beta in float64 first, or 1 - 0.999F would carry beta's rounding.
  const T beta1 = static_cast<T>(f.beta1);
  const T beta2 = static_cast<T>(f.beta2);
  const T rest1 = static_cast<T>(1.0 - f.beta1);
  const T rest2 = static_cast<T>(1.0 - f.beta2);
  const T eps = static_cast<T>(f.eps);
  const T scale = static_cast<T>(f.grad_scale);
  const T step_size = static_cast<T>(f.step_size);
  const T correction = static_cast<T>(f.inv_root_correction2);
  const T keep = static_cast<T>(f.keep);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const T g = grad[i] * scale;
    const T new_m = beta1 * m[i] + rest1 * g;
    const T new_v = beta2 * v[i] + rest2 * g * g;
    m[i] = new_m;
    v[i] = new_v;
    const T p = keep * param[i] - step_size * new_m / (root(new_v) * correction + eps);
    param[i] = p;
    if constexpr (kCopy) {
      copy[i] = round_to_bf16(static_cast<float>(p));
    }
  }
}

template <class T>
GM_INLINE void step_either(const Arrays<T>& arrays, std::uint16_t* bf16, std::int64_t n,
                           const Factors& f) {
  if (bf16 != nullptr) {
    step_body<T, true>(arrays, bf16, n, f);
  } else {
    step_body<T, false>(arrays, nullptr, n, f);
  }
}

/// Sum of squares of x [n]. The order is the definition and not the compiler's choice: element i is
/// added to sum i mod 16, then the sums are added pairwise, at every vector width alike.
template <class T>
GM_INLINE double square_body(const T* __restrict__ x, std::int64_t n) {
  constexpr int kLanes = 16;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = static_cast<double>(x[i + lane]);
      lanes[lane] += value * value;
    }
  }
  for (int lane = 0; i < n; ++i, ++lane) {  // fewer than 16
    const double value = static_cast<double>(x[i]);
    lanes[lane] += value * value;
  }
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) {
      lanes[lane] += lanes[lane + width];
    }
  }
  return lanes[0];
}

struct Kernels {
  const char* name;
  void (*step_float)(const Arrays<float>&, std::uint16_t*, std::int64_t, const Factors&);
  void (*step_double)(const Arrays<double>&, std::uint16_t*, std::int64_t, const Factors&);
  double (*squares_float)(const float*, std::int64_t);
  double (*squares_double)(const double*, std::int64_t);
};

// A function's target attribute decides which instructions its inlined body may use, so each set is
// one copy of four functions.
#define GM_KERNELS(suffix, ...)                                                                    \
  __VA_ARGS__ void step_float_##suffix(const Arrays<float>& a, std::uint16_t* b, std::int64_t n,   \
                                       const Factors& f) {                                         \
    step_either<float>(a, b, n, f);                                                                \
  }                                                                                                \
  __VA_ARGS__ void step_double_##suffix(const Arrays<double>& a, std::uint16_t* b, std::int64_t n, \
                                        const Factors& f) {                                        \
    step_either<double>(a, b, n, f);                                                               \
  }                                                                                                \
  __VA_ARGS__ double squares_float_##suffix(const float* x, std::int64_t n) {                      \
    return square_body<float>(x, n);                                                               \
  }                                                                                                \
  __VA_ARGS__ double squares_double_##suffix(const double* x, std::int64_t n) {                    \
    return square_body<double>(x, n);                                                              \
  }

GM_KERNELS(base, )
#if defined(__x86_64__)
GM_KERNELS(avx2, __attribute__((target("avx2"))))
GM_KERNELS(avx512, __attribute__((target("avx512f,avx512bw,avx512vl,prefer-vector-width=512"))))
#endif

/// The widest set that this processor runs.
Kernels choose_kernels() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return {"avx512", step_float_avx512, step_double_avx512, squares_float_avx512,
            squares_double_avx512};
  }
  if (__builtin_cpu_supports("avx2")) {
    return {"avx2", step_float_avx2, step_double_avx2, squares_float_avx2, squares_double_avx2};
  }
#endif
  return {"x86-64", step_float_base, step_double_base, squares_float_base, squares_double_base};
}

const Kernels& kernels() {
  static const Kernels chosen = choose_kernels();
  return chosen;
}

}  // namespace

void step(const Arrays<float>& arrays, std::uint16_t* bf16, std::int64_t n,
          const Factors& factors) {
  kernels().step_float(arrays, bf16, n, factors);
}

void step(const Arrays<double>& arrays, std::uint16_t* bf16, std::int64_t n,
          const Factors& factors) {
  kernels().step_double(arrays, bf16, n, factors);
}

double sum_of_squares(const float* x, std::int64_t n) { return kernels().squares_float(x, n); }
double sum_of_squares(const double* x, std::int64_t n) { return kernels().squares_double(x, n); }

const char* instruction_set() { return kernels().name; }

}  // namespace growmerge::adamw
