// Shapes (legend: kernels.h): x, delta, sum, y, dy, dx [rows, d]; gain, dgain [d]; rstd [rows]. A
// row is passed two or three times, one behind another, so that it comes from memory once.
#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

/// y = x r (gain + offset), all [d], rounded once.
template <class T>
void apply_row(Index d, const T* x, const T* gain, Acc<T> offset, Acc<T> r, T* y) {
  for_elements<T>(d, [&]<class V>(Index j) {
    store_as(y + j, load_as<V>(x + j) * r * (load_as<V>(gain + j) + offset));
  });
}

/// What is normed is the sum as it was stored, rounded to T: whoever makes y again from it gets the
/// same bits.
template <class T>
void add_rms_norm(Index rows, Index d, const T* x, const T* delta, const T* gain, double offset,
                  double eps, T* sum, T* y, Acc<T>* rstd) {
  using A = Acc<T>;
  for (Index i = 0; i < rows; ++i) {
    const T* xi = x + i * d;
    if (delta != nullptr) {
      const T* di = delta + i * d;
      T* si = sum + i * d;
      for_elements<T>(
          d, [&]<class V>(Index j) { store_as(si + j, load_as<V>(xi + j) + load_as<V>(di + j)); });
      xi = si;
    }
    Sum<A> squares;  // many lanes' sums: short ones, so float32 is enough for a row
    for_elements<T>(d, [&]<class V>(Index j) {
      const V v = load_as<V>(xi + j);
      squares.add(v * v);
    });
    const A mean = squares.total() / static_cast<A>(d) + static_cast<A>(eps);
    const A r = sizeof(A) == 8 ? static_cast<A>(1.0 / __builtin_sqrt(mean))
                               : static_cast<A>(1.0F / __builtin_sqrtf(mean));
    rstd[i] = r;
    apply_row(d, xi, gain, static_cast<A>(offset), r, y + i * d);
  }
}

template <class T>
void apply_rms_norm(Index rows, Index d, const T* x, const T* gain, double offset,
                    const Acc<T>* rstd, T* y) {
  for (Index i = 0; i < rows; ++i) {
    apply_row(d, x + i * d, gain, static_cast<Acc<T>>(offset), rstd[i], y + i * d);
  }
}

// y = g x r with g = gain + offset, r = (mean(x^2) + eps)^-1/2:
//   dx = r (g dy - x r^2 mean(g dy x)),  dg = sum over rows of dy x r.
template <class T>
void rms_norm_backward(Index rows, Index d, const T* dy, const T* x, const T* gain, double offset,
                       const Acc<T>* rstd, T* dx, Acc<T>* dgain) {
  using A = Acc<T>;
  const A more = static_cast<A>(offset);
  for (Index i = 0; i < rows; ++i) {
    const T* dyi = dy + i * d;
    const T* xi = x + i * d;
    T* dxi = dx + i * d;
    const A r = rstd[i];
    Sum<A> dot;
    for_elements<T>(d, [&]<class V>(Index j) {
      const V dyx = load_as<V>(dyi + j) * load_as<V>(xi + j);
      dot.add(dyx * (load_as<V>(gain + j) + more));
      store_as(dgain + j, load_as<V>(dgain + j) + dyx * r);
    });
    const A c = dot.total() * r * r * r / static_cast<A>(d);  // r r^2 mean(g dy x), once a row
    for_elements<T>(d, [&]<class V>(Index j) {
      const V slope =
          r * (load_as<V>(gain + j) + more) * load_as<V>(dyi + j) - c * load_as<V>(xi + j);
      store_as(dxi + j, load_as<V>(dxi + j) + slope);
    });
  }
}

/// sum += x, both [n].
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
