// Shapes (legend: kernels.h): all arrays [n], element by element. Each activation is one function,
// of a vector or of an element that is left over behind the last one.
#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

// An activation's value and derivative, which share most of their work.
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

// x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3): one exponential serves all
// three activations.
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

/// out = act(gate) up. The derivative is not used here, and the compiler drops it.
template <class T, class Act>
void forward(Index n, const T* gate, const T* up, T* out) {
  for_elements<T>(n, [&]<class V>(Index i) {
    store_as(out + i, Act::at(load_as<V>(gate + i)).value * load_as<V>(up + i));
  });
}

// In place: gate -> its gradient, up -> its gradient, dout -> the forward's output, made again. All
// three are read before any is written.
template <class T, class Act>
void backward(Index n, T* gate_to_dgate, T* up_to_dup, T* dout_to_out) {
  for_elements<T>(n, [&]<class V>(Index i) {
    const Activated<V> a = Act::at(load_as<V>(gate_to_dgate + i));
    const V u = load_as<V>(up_to_dup + i);
    const V d = load_as<V>(dout_to_out + i);
    store_as(gate_to_dgate + i, d * u * a.slope);
    store_as(up_to_dup + i, d * a.value);
    store_as(dout_to_out + i, a.value * u);
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
