// The inner loops of AdamW and of the gradient norm on plain arrays, in versions for AVX-512, AVX2
// and any x86-64; the best one that this processor runs is taken. No version contracts a multiply
// and an add, so all of them give the same bits.
#pragma once

#include <cstdint>

namespace growmerge::adamw {

/// param = keep * param - step_size * m / (sqrt(v) * inv_root_correction2 + eps)
struct Factors {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double grad_scale = 1.0;
  double step_size = 0.0;             // lr / (1 - beta1^t)
  double inv_root_correction2 = 1.0;  // 1 / sqrt(1 - beta2^t)
  double keep = 1.0;                  // 1 - lr * weight_decay
};

/// All [n] of step(); none overlaps another.
template <class T>
struct Arrays {
  T* param = nullptr;
  const T* grad = nullptr;
  T* m = nullptr;
  T* v = nullptr;
};

/// One step of n elements, param, m and v in place. `bf16` [n] (may be null) receives the new
/// parameters, rounded to the nearest bfloat16, ties to even.
void step(const Arrays<float>& arrays, std::uint16_t* bf16, std::int64_t n, const Factors& factors);
void step(const Arrays<double>& arrays, std::uint16_t* bf16, std::int64_t n,
          const Factors& factors);

/// In float64, over 16 interleaved partial sums that are added pairwise: a fixed order.
[[nodiscard]] double sum_of_squares(const float* x, std::int64_t n);
[[nodiscard]] double sum_of_squares(const double* x, std::int64_t n);

/// The instruction set in use: "avx512", "avx2" or "x86-64".
[[nodiscard]] const char* instruction_set();

}  // namespace growmerge::adamw
