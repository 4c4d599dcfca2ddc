// One pass over the elements, 16 bytes of each tensor at a time.
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

/// An activation's value and derivative.
template <class A>
struct Activated {
  A value;
  A slope;
};

template <class A>
__device__ Activated<A> activate(int activation, A x) {
  if (activation == 0) {  // silu
    const A s = A(1) / (A(1) + exp_of(-x));
    return {x * s, s * (A(1) + x * (A(1) - s))};
  }
  if (activation == 1) {  // gelu: x Phi(x); slope Phi(x) + x phi(x)
    const A cdf = A(0.5) * erfc(-x * A(0.70710678118654752440));
    const A density = exp_of(A(-0.5) * x * x) * A(0.39894228040143267794);
    return {x * cdf, cdf + x * density};
  }
  // gelu_tanh: x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
  const A k = A(0.79788456080286535588);
  const A u = k * (x + A(0.044715) * x * x * x);
  const A s = A(1) / (A(1) + exp_of(A(-2) * u));
  const A du = k * (A(1) + A(3 * 0.044715) * x * x);
  return {x * s, s + x * A(2) * s * (A(1) - s) * du};
}

template <class T, int V>
__device__ void forward_pack(const Gated<T>& a, Index i) {
  const Pack<T, V> gate = load_pack<V>(a.gate + i);
  const Pack<T, V> up = load_pack<V>(a.up + i);
  Pack<T, V> out;
  for (int e = 0; e < V; ++e) {
    store(out.at[e], activate(a.activation, load(gate.at[e])).value * load(up.at[e]));
  }
  store_pack(a.out + i, out);
}

template <class T, int V>
__device__ void backward_pack(const Gated<T>& a, Index i) {
  using A = Acc<T>;
  Pack<T, V> gate = load_pack<V>(a.gate + i);
  Pack<T, V> up = load_pack<V>(a.up + i);
  Pack<T, V> out = load_pack<V>(a.out + i);
  for (int e = 0; e < V; ++e) {
    const Activated<A> act = activate(a.activation, load(gate.at[e]));
    const A u = load(up.at[e]);
    const A d = load(out.at[e]);
    store(gate.at[e], d * u * act.slope);
    store(up.at[e], d * act.value);
    store(out.at[e], act.value * u);
  }
  store_pack(a.gate + i, gate);
  store_pack(a.up + i, up);
  store_pack(a.out + i, out);
}

/// Packs first, then what is left one by one; `packs` is 0 where pointers are not aligned.
template <class T, bool kBackward>
__global__ void gated_kernel(Gated<T> a, Index packs) {
  constexpr int V = kPackOf<T>;
  const Index stride = static_cast<Index>(gridDim.x) * blockDim.x;
  const Index first = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (Index i = first; i < packs; i += stride) {
    if constexpr (kBackward) {
      backward_pack<T, V>(a, i * V);
    } else {
      forward_pack<T, V>(a, i * V);
    }
  }
  for (Index i = packs * V + first; i < a.n; i += stride) {
    if constexpr (kBackward) {
      backward_pack<T, 1>(a, i);
    } else {
      forward_pack<T, 1>(a, i);
    }
  }
}

template <class T, bool kBackward>
void launch_gated(const Gated<T>& a, Stream stream) {
  constexpr unsigned kThreads = 256;
  const Index packs = is_packable<T>(0, a.gate, a.up, a.out) ? a.n / kPackOf<T> : 0;
  const Index items = packs > 0 ? packs : a.n;
  launch(gated_kernel<T, kBackward>, grid_for(items, kThreads), kThreads, stream, a, packs);
}

}  // namespace

template <class T>
void gated_forward(const Gated<T>& a, Stream stream) {
  launch_gated<T, false>(a, stream);
}
template <class T>
void gated_backward(const Gated<T>& a, Stream stream) {
  launch_gated<T, true>(a, stream);
}

#define GM_INSTANTIATE(T)                               \
  template void gated_forward(const Gated<T>&, Stream); \
  template void gated_backward(const Gated<T>&, Stream);
GM_INSTANTIATE(float)
GM_INSTANTIATE(double)
GM_INSTANTIATE(Bf16)

}  // namespace growmerge::ops::cuda
