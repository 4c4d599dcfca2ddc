#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

// An activation's value and derivative.
template <class V>
struct Activated {
  V value;
  V slope;
};

struct Silu {
  template <class V>
  static GM_INLINE Activated<V> at(V x) {
    const V s = sigmoid(x);
    return {x * s, s * (1.0F + x * (1.0F - s))};
  }
};

// x Phi(x); slope Phi(x) + x phi(x).
struct Gelu {
  template <class V>
  static GM_INLINE Activated<V> at(V x) {
    using E = Element<V>;
    const V cdf = normal_cdf(x);
    const V density = exp_below_one(E(-0.5) * x * x) * E(0.39894228040143267794);
    return {x * cdf, cdf + x * density};
  }
};

// x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
struct GeluTanh {
  template <class V>
  static GM_INLINE Activated<V> at(V x) {
    using E = Element<V>;
    const E k = E(0.79788456080286535588);
    const V u = k * (x + E(0.044715) * x * x * x);
    const V s = sigmoid(E(2) * u);
    const V du = k * (E(1) + E(3 * 0.044715) * x * x);
    return {x * s, s + x * E(2) * s * (E(1) - s) * du};
  }
};

template <class T, class Act>
void forward(Index n, const T* gate, const T* up, T* out) {
  for_elements<T>(n, [&]<class V>(Index i) {
    store_as(out + i, Act::at(load_as<V>(gate + i)).value * load_as<V>(up + i));
  });
}

// In place: gate -> its gradient, up -> its gradient, dout -> the forward's output, made again.
template <class T, class Act>
void backward(Index n, T* gate, T* up, T* dout) {
  for_elements<T>(n, [&]<class V>(Index i) {
    const Activated<V> a = Act::at(load_as<V>(gate + i));
    const V u = load_as<V>(up + i);
    const V d = load_as<V>(dout + i);
    store_as(gate + i, d * u * a.slope);
    store_as(up + i, d * a.value);
    store_as(dout + i, a.value * u);
  });
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
