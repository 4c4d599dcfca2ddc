// One block a row. A row is read from memory once: each thread keeps its share in registers.
//
// Shapes (legend: core/ops/kernels/kernels.h): x, delta, sum, y, dy, dx [N, D]; gain, dgain [D];
// rstd [N]; partial [parts, D]. Loops over kept packs are unrolled whole, or the arrays would be
// indexed at run time and lie in memory.
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

/// Packs of a row that a thread keeps: 16 elements, so that 1024 threads have the registers.
template <int V>
constexpr int kKept = 16 / V;

/// Threads a row, so that none gets more than kKept packs where kMostThreads suffice.
unsigned row_threads(Index packs, Index kept) {
  const Index needed = (packs + kept - 1) / kept;
  return needed <= 256 ? threads_for(packs) : threads_for(needed, kMostThreads);
}

/// x r (gain + offset), rounded once; `gain` points at the pack's own columns.
template <class T, int V>
__device__ Pack<T, V> normed(const Pack<T, V>& x, const T* gain, double offset, Acc<T> r) {
  const Acc<T> more = static_cast<Acc<T>>(offset);
  const Pack<T, V> g = load_pack<V>(gain);
  Pack<T, V> y;
  for (int e = 0; e < V; ++e) {
    store(y.at[e], load(x.at[e]) * r * (load(g.at[e]) + more));
  }
  return y;
}

/// One block a row [d]. What is normed is the sum as it was stored, rounded to T: whoever makes y
/// again from the stored sum gets the same bits.
template <class T, int V>
__global__ void __launch_bounds__(kMostThreads) add_rms_norm_kernel(AddRmsNorm<T> a) {
  using A = Acc<T>;
  const Index row = static_cast<Index>(blockIdx.x) * a.d;
  const Index packs = a.d / V;
  Pack<T, V> kept[kKept<V>];
  A squares = 0;
#pragma unroll
  for (int i = 0; i < kKept<V>; ++i) {
    const Index p = threadIdx.x + static_cast<Index>(i) * blockDim.x;
    if (p < packs) {
      kept[i] = load_pack<V>(a.x + row + p * V);
      if (a.delta != nullptr) {
        const Pack<T, V> delta = load_pack<V>(a.delta + row + p * V);
        for (int e = 0; e < V; ++e) {
          store(kept[i].at[e], load(kept[i].at[e]) + load(delta.at[e]));
        }
        store_pack(a.sum + row + p * V, kept[i]);
      }
      for (int e = 0; e < V; ++e) {
        const A value = load(kept[i].at[e]);
        squares += value * value;
      }
    }
  }
  squares = reduce_block(squares, Sum{});
  const A mean = squares / static_cast<A>(a.d) + static_cast<A>(a.eps);
  const A r = A(1) / sqrt(mean);
  if (threadIdx.x == 0) {
    a.rstd[blockIdx.x] = r;
  }
#pragma unroll
  for (int i = 0; i < kKept<V>; ++i) {
    const Index p = threadIdx.x + static_cast<Index>(i) * blockDim.x;
    if (p < packs) {
      store_pack(a.y + row + p * V, normed<T, V>(kept[i], a.gain + p * V, a.offset, r));
    }
  }
}

/// One block a row [d].
template <class T, int V>
__global__ void apply_rms_norm_kernel(ApplyRmsNorm<T> a) {
  const Index row = static_cast<Index>(blockIdx.x) * a.d;
  const Acc<T> r = a.rstd[blockIdx.x];
  for (Index p = threadIdx.x; p < a.d / V; p += blockDim.x) {
    const Pack<T, V> x = load_pack<V>(a.x + row + p * V);
    store_pack(a.y + row + p * V, normed<T, V>(x, a.gain + p * V, a.offset, r));
  }
}

/// One part of the rows a block; its sum of dgain goes to its row of `partial`: blocks that added
/// to dgain itself would do so in any order. With r = rstd,
///   dx += r (g dy - x r^2 mean(g dy x)),  dgain += sum over rows of dy x r,  g = gain + offset.
template <class T, int V>
__global__ void __launch_bounds__(kMostThreads) rms_norm_backward_kernel(RmsNormBackward<T> a) {
  using A = Acc<T>;
  const Index packs = a.d / V;
  const Index begin = a.rows * blockIdx.x / gridDim.x;
  const Index end = a.rows * (blockIdx.x + Index{1}) / gridDim.x;
  const A more = static_cast<A>(a.offset);
  A dgain[kKept<V> * V] = {};
  for (Index row = begin; row < end; ++row) {
    const T* dy_row = a.dy + row * a.d;
    const T* x_row = a.x + row * a.d;
    T* dx_row = a.dx + row * a.d;
    const A r = a.rstd[row];
    Pack<T, V> dy[kKept<V>];
    Pack<T, V> x[kKept<V>];
    A dot = 0;
#pragma unroll
    for (int i = 0; i < kKept<V>; ++i) {
      const Index p = threadIdx.x + static_cast<Index>(i) * blockDim.x;
      if (p < packs) {
        dy[i] = load_pack<V>(dy_row + p * V);
        x[i] = load_pack<V>(x_row + p * V);
        const Pack<T, V> gain = load_pack<V>(a.gain + p * V);
        for (int e = 0; e < V; ++e) {
          const A dyx = load(dy[i].at[e]) * load(x[i].at[e]);
          dot += dyx * (load(gain.at[e]) + more);
          dgain[i * V + e] += dyx * r;
        }
      }
    }
    dot = reduce_block(dot, Sum{});
    const A c = dot * r * r * r / static_cast<A>(a.d);
#pragma unroll
    for (int i = 0; i < kKept<V>; ++i) {
      const Index p = threadIdx.x + static_cast<Index>(i) * blockDim.x;
      if (p < packs) {
        const Pack<T, V> gain = load_pack<V>(a.gain + p * V);
        Pack<T, V> dx = load_pack<V>(dx_row + p * V);
        for (int e = 0; e < V; ++e) {
          const A slope = r * (load(gain.at[e]) + more) * load(dy[i].at[e]) - c * load(x[i].at[e]);
          store(dx.at[e], load(dx.at[e]) + slope);
        }
        store_pack(dx_row + p * V, dx);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kKept<V>; ++i) {
    const Index p = threadIdx.x + static_cast<Index>(i) * blockDim.x;
    if (p < packs) {
      for (int e = 0; e < V; ++e) {
        a.partial[blockIdx.x * a.d + p * V + e] = dgain[i * V + e];
      }
    }
  }
}

/// dgain [d] += sum of partial [parts, d]. 32 columns a block; warp w adds parts w, w + 32, ...,
/// then the first warp adds the warps: an order that depends on the number of parts alone.
template <class A>
__global__ void __launch_bounds__(kMostThreads)
    sum_parts_kernel(Index parts, Index d, const A* partial, A* dgain) {
  __shared__ A sums[kWarp][kWarp];
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warp = threadIdx.x / kWarp;
  const Index column = static_cast<Index>(blockIdx.x) * kWarp + lane;
  A sum = 0;
  if (column < d) {
    for (Index part = warp; part < parts; part += kWarp) {
      sum += partial[part * d + column];
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < d) {
    A total = 0;
    for (unsigned w = 0; w < kWarp; ++w) {
      total += sums[w][lane];
    }
    dgain[column] += total;
  }
}

template <class T, int V>
void launch_backward(const RmsNormBackward<T>& a, Stream stream) {
  const Index parts = rms_norm_parts(a.rows);
  launch(rms_norm_backward_kernel<T, V>, grid_of_rows(parts), row_threads(a.d / V, kKept<V>),
         stream, a);
  launch(sum_parts_kernel<Acc<T>>, grid_of_rows((a.d + kWarp - 1) / kWarp), kWarp * kWarp, stream,
         parts, a.d, static_cast<const Acc<T>*>(a.partial), a.dgain);
}

}  // namespace

Index rms_norm_parts(Index rows) {
  // A part's dgain is written and read again, so it takes 8 rows or more.
  const Index parts = (rows + 7) / 8;
  return parts < 1024 ? parts : 1024;
}

template <class T>
void add_rms_norm(const AddRmsNorm<T>& a, Stream stream) {
  constexpr int V = kPackOf<T>;
  GM_CHECK(a.d <= kRmsNormMost, kUnsupported, "RMSNorm on CUDA: rows of ", a.d,
           " elements, at most ", kRmsNormMost);
  if (is_packable<T>(a.d, a.x, a.delta, a.gain, a.sum, a.y)) {
    launch(add_rms_norm_kernel<T, V>, grid_of_rows(a.rows), row_threads(a.d / V, kKept<V>), stream,
           a);
  } else {
    launch(add_rms_norm_kernel<T, 1>, grid_of_rows(a.rows), row_threads(a.d, kKept<1>), stream, a);
  }
}

template <class T>
void apply_rms_norm(const ApplyRmsNorm<T>& a, Stream stream) {
  launch_on_rows<T>(apply_rms_norm_kernel<T, kPackOf<T>>, apply_rms_norm_kernel<T, 1>,
                    is_packable<T>(a.d, a.x, a.gain, a.y), a.rows, a.d, kFewThreads, stream, a);
}

template <class T>
void rms_norm_backward(const RmsNormBackward<T>& a, Stream stream) {
  GM_CHECK(a.d <= kRmsNormMost, kUnsupported, "RMSNorm on CUDA: rows of ", a.d,
           " elements, at most ", kRmsNormMost);
  if (is_packable<T>(a.d, a.dy, a.x, a.gain, a.dx)) {
    launch_backward<T, kPackOf<T>>(a, stream);
  } else {
    launch_backward<T, 1>(a, stream);
  }
}

#define GM_INSTANTIATE(T)                                       \
  template void add_rms_norm(const AddRmsNorm<T>&, Stream);     \
  template void apply_rms_norm(const ApplyRmsNorm<T>&, Stream); \
  template void rms_norm_backward(const RmsNormBackward<T>&, Stream);
GM_INSTANTIATE(float)
GM_INSTANTIATE(double)
GM_INSTANTIATE(Bf16)

}  // namespace growmerge::ops::cuda
