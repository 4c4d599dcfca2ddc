// One block a row of all heads.
//
// Shapes (legend: core/ops/kernels/kernels.h): x [N, H h]; cos, sin [P, pairs]; positions [N].
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

/// Rotate-half, in place: (a, b) = (x[j], x[j + pairs]) -> (a cos - b sin, b cos + a sin). A thread
/// takes V columns of both halves, so each pair is read and written by one thread.
template <class T, int V>
__global__ void rope_kernel(Rope<T> a) {
  using A = Acc<T>;
  const int half = static_cast<int>(a.pairs);
  const int packs = half / V;
  const Index position = a.positions[blockIdx.x];
  const float* cos = a.cos + position * half;
  const float* sin = a.sin + position * half;
  T* row = a.x + static_cast<Index>(blockIdx.x) * a.heads * a.head_dim;
  const A direction = a.inverse ? A(-1) : A(1);
  for (int i = static_cast<int>(threadIdx.x); i < packs * a.heads;
       i += static_cast<int>(blockDim.x)) {
    const int j = i % packs * V;
    T* first = row + i / packs * a.head_dim + j;
    Pack<T, V> u = load_pack<V>(first);
    Pack<T, V> v = load_pack<V>(first + half);
    for (int e = 0; e < V; ++e) {
      const A c = static_cast<A>(cos[j + e]);
      const A s = static_cast<A>(sin[j + e]) * direction;
      const A x = load(u.at[e]);
      const A y = load(v.at[e]);
      store(u.at[e], x * c - y * s);
      store(v.at[e], y * c + x * s);
    }
    store_pack(first, u);
    store_pack(first + half, v);
  }
}

}  // namespace

template <class T>
void rope(const Rope<T>& a, Stream stream) {
  const bool heads_are_packs = a.head_dim % kPackOf<T> == 0;
  launch_on_rows<T>(rope_kernel<T, kPackOf<T>>, rope_kernel<T, 1>,
                    heads_are_packs && is_packable<T>(a.pairs, a.x), a.rows, a.heads * a.pairs,
                    kFewThreads, stream, a);
}

template void rope(const Rope<float>&, Stream);
template void rope(const Rope<double>&, Stream);
template void rope(const Rope<Bf16>&, Stream);

}  // namespace growmerge::ops::cuda
