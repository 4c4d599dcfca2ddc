#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

// An activation's value and derivative.
template <class A>
struct Activated {
  A value;
  A slope;
};

struct Silu {
  template <class A>
  static GM_INLINE Activated<A> at(A x) {
    const A s = sigmoid(x);
    return {x * s, s * (A(1) + x * (A(1) - s))};
  }
};

// x Phi(x); slope Phi(x) + x phi(x).
struct Gelu {
  template <class A>
  static GM_INLINE Activated<A> at(A x) {
    const A cdf = normal_cdf(x);
    const A density = exp_below_one(A(-0.5) * x * x) * A(0.39894228040143267794);
    return {x * cdf, cdf + x * density};
  }
};

// x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
struct GeluTanh {
  template <class A>
  static GM_INLINE Activated<A> at(A x) {
    const A k = A(0.79788456080286535588);
    const A u = k * (x + A(0.044715) * x * x * x);
    const A s = sigmoid(A(2) * u);
    const A du = k * (A(1) + A(3 * 0.044715) * x * x);
    return {x * s, s + x * A(2) * s * (A(1) - s) * du};
  }
};

template <class T, class Act>
void forward(Index n, const T* gate, const T* up, T* out) {
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    store(out[i], Act::at(load(gate[i])).value * load(up[i]));
  }
}

// In place: gate -> its gradient, up -> its gradient, dout -> the forward's output, made again.
template <class T, class Act>
void backward(Index n, T* gate, T* up, T* dout) {
  using A = Acc<T>;
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    const Activated<A> a = Act::at(load(gate[i]));
    const A u = load(up[i]);
    const A d = load(dout[i]);
    store(gate[i], d * u * a.slope);
    store(up[i], d * a.value);
    store(dout[i], a.value * u);
  }
}

template <class T>
void fill(Kernels<T>& k) {
  k.gated_forward[0] = forward<T, Silu>;
  k.gated_forward[1] = forward<T, Gelu>;
  k.gated_forward[2] = forward<T, GeluTanh>;
  k.gated_backward[0] = backward<T, Silu>;
  k.gated_backward[1] = backward<T, Gelu>;
  k.gated_backward[2] = backward<T, GeluTanh>;
}

}  // namespace

namespace GM_ISA {
void fill_gated_mlp(KernelSet& set) {
  fill(set.f32);
  fill(set.f64);
  fill(set.bf16);
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
