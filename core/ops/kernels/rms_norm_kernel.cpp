#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

template <class T>
void apply_row(Index d, const T* x, const T* gain, Acc<T> r, T* y) {
#pragma omp simd
  for (Index j = 0; j < d; ++j) {
    store(y[j], load(x[j]) * r * load(gain[j]));
  }
}

template <class T>
void add_rms_norm(Index rows, Index d, const T* x, const T* delta, const T* gain, double eps,
                  T* sum, T* y, Acc<T>* rstd) {
  using A = Acc<T>;
  for (Index i = 0; i < rows; ++i) {
    const T* xi = x + i * d;
    A squares = 0;
    if (delta != nullptr) {
      const T* di = delta + i * d;
      T* si = sum + i * d;
#pragma omp simd
      for (Index j = 0; j < d; ++j) {
        store(si[j], load(xi[j]) + load(di[j]));
      }
      xi = si;
    }
#pragma omp simd reduction(+ : squares)
    for (Index j = 0; j < d; ++j) {
      const A v = load(xi[j]);
      squares += v * v;
    }
    const A mean = squares / static_cast<A>(d) + static_cast<A>(eps);
    const A r = sizeof(A) == 8 ? static_cast<A>(1.0 / __builtin_sqrt(mean))
                               : static_cast<A>(1.0F / __builtin_sqrtf(mean));
    rstd[i] = r;
    apply_row(d, xi, gain, r, y + i * d);
  }
}

template <class T>
void apply_rms_norm(Index rows, Index d, const T* x, const T* gain, const Acc<T>* rstd, T* y) {
  for (Index i = 0; i < rows; ++i) {
    apply_row(d, x + i * d, gain, rstd[i], y + i * d);
  }
}

// y = g x r with r = (mean(x^2) + eps)^-1/2:
//   dx = r (g dy - x r^2 mean(g dy x)),  dg = sum over rows of dy x r.
template <class T>
void rms_norm_backward(Index rows, Index d, const T* dy, const T* x, const T* gain,
                       const Acc<T>* rstd, T* dx, Acc<T>* dgain) {
  using A = Acc<T>;
  for (Index i = 0; i < rows; ++i) {
    const T* dyi = dy + i * d;
    const T* xi = x + i * d;
    T* dxi = dx + i * d;
    const A r = rstd[i];
    A dot = 0;
#pragma omp simd reduction(+ : dot)
    for (Index j = 0; j < d; ++j) {
      const A dyx = load(dyi[j]) * load(xi[j]);
      dot += dyx * load(gain[j]);
      dgain[j] += dyx * r;
    }
    const A c = dot * r * r * r / static_cast<A>(d);
#pragma omp simd
    for (Index j = 0; j < d; ++j) {
      store(dxi[j], load(dxi[j]) + (r * load(gain[j]) * load(dyi[j]) - c * load(xi[j])));
    }
  }
}

template <class T>
void accumulate(Index n, const T* x, Acc<T>* sum) {
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    sum[i] += load(x[i]);
  }
}

template <class T>
void fill(Kernels<T>& k) {
  k.add_rms_norm = add_rms_norm<T>;
  k.apply_rms_norm = apply_rms_norm<T>;
  k.rms_norm_backward = rms_norm_backward<T>;
  k.accumulate = accumulate<T>;
}

}  // namespace

namespace GM_ISA {
void fill_rms_norm(KernelSet& set) {
  fill(set.f32);
  fill(set.f64);
  fill(set.bf16);
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
