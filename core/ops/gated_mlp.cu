// One pass over the elements, 16 bytes of each tensor at a time. Shapes: all arrays [n] (n = N F;
// legend: core/ops/kernels/kernels.h). Element-wise: which thread takes which element changes
// nothing.
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

/// `activation` is the same for all threads, so asking for it here makes no warp diverge.
template <class A>
__device__ Activated<A> activate(int activation, A x) {
  if (activation == 0) {  // silu
    // Where the exponential is infinite the quotient is 0, as it should be.
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

/// Elements [i, i + V).
template <class T, int V>
__device__ void run_pack(const GatedForward<T>& a, Index i) {
  const Pack<T, V> gate = load_pack<V>(a.gate + i);
  const Pack<T, V> up = load_pack<V>(a.up + i);
  Pack<T, V> out;
  for (int e = 0; e < V; ++e) {
    store(out.at[e], activate(a.activation, load(gate.at[e])).value * load(up.at[e]));
  }
  store_pack(a.out + i, out);
}

/// Elements [i, i + V), in place: all three are read before any is written.
template <class T, int V>
__device__ void run_pack(const GatedBackward<T>& a, Index i) {
  using A = Acc<T>;
  Pack<T, V> gate_to_dgate = load_pack<V>(a.gate_to_dgate + i);
  Pack<T, V> up_to_dup = load_pack<V>(a.up_to_dup + i);
  Pack<T, V> dout_to_out = load_pack<V>(a.dout_to_out + i);
  for (int e = 0; e < V; ++e) {
    const Activated<A> act = activate(a.activation, load(gate_to_dgate.at[e]));
    const A u = load(up_to_dup.at[e]);
    const A d = load(dout_to_out.at[e]);
    store(gate_to_dgate.at[e], d * u * act.slope);
    store(up_to_dup.at[e], d * act.value);
    store(dout_to_out.at[e], act.value * u);
  }
  store_pack(a.gate_to_dgate + i, gate_to_dgate);
  store_pack(a.up_to_dup + i, up_to_dup);
  store_pack(a.dout_to_out + i, dout_to_out);
}

/// Packs first, then what is left one by one; `packs` is 0 where pointers are not aligned.
/// Arguments: GatedForward<T> or GatedBackward<T>.
template <class T, class Arguments>
__global__ void gated_kernel(Arguments a, Index packs) {
  constexpr int V = kPackOf<T>;
  const Index stride = static_cast<Index>(gridDim.x) * blockDim.x;
  const Index first = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (Index i = first; i < packs; i += stride) {
    run_pack<T, V>(a, i * V);
  }
  for (Index i = packs * V + first; i < a.n; i += stride) {
    run_pack<T, 1>(a, i);
  }
}

template <class T, class Arguments>
void launch_gated(const Arguments& a, bool packable, Stream stream) {
  constexpr unsigned kThreads = 256;
  const Index packs = packable ? a.n / kPackOf<T> : 0;
  const Index items = packs > 0 ? packs : a.n;
  launch(gated_kernel<T, Arguments>, grid_for(items, kThreads), kThreads, stream, a, packs);
}

}  // namespace

template <class T>
void gated_forward(const GatedForward<T>& a, Stream stream) {
  launch_gated<T>(a, is_packable<T>(0, a.gate, a.up, a.out), stream);
}
template <class T>
void gated_backward(const GatedBackward<T>& a, Stream stream) {
  launch_gated<T>(a, is_packable<T>(0, a.gate_to_dgate, a.up_to_dup, a.dout_to_out), stream);
}

#define GM_INSTANTIATE(T)                                      \
  template void gated_forward(const GatedForward<T>&, Stream); \
  template void gated_backward(const GatedBackward<T>&, Stream);
GM_INSTANTIATE(float)
GM_INSTANTIATE(double)
GM_INSTANTIATE(Bf16)

}  // namespace growmerge::ops::cuda
