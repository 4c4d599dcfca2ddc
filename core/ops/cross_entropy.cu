// One block a row of logits, which is read twice (the second time from the L2 cache): for its
// maximum, and for its exponentials. Each thread's sum is in the type of sums over its share of the
// row, sums of threads are added in float64.
//
// Shapes (legend: core/ops/kernels/kernels.h): logits [C, T] of a tile or [C, V]; max, sum, factor
// [J, C]; targets, nll, slope, log_prob, greedy, scale [C]; x [C, D].
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

/// Of row [width], by the whole block; width is a multiple of V. All threads get it, behind a
/// barrier.
template <class T, int V>
__device__ Acc<T> row_max(const T* row, Index width) {
  using A = Acc<T>;
  A high = load(row[0]);
  for (Index p = threadIdx.x; p < width / V; p += blockDim.x) {
    const Pack<T, V> x = load_pack<V>(row + p * V);
    for (int e = 0; e < V; ++e) {
      high = Max{}(load(x.at[e]), high);
    }
  }
  return reduce_block(high, Max{});
}

/// One block a row [width]: the maximum is subtracted before the exponential, so that none
/// overflows.
template <class T, int V>
__global__ void __launch_bounds__(kMostThreads) softmax_tile_kernel(SoftmaxTile<T> a) {
  using A = Acc<T>;
  const Index i = blockIdx.x;
  T* row = a.logits_to_exps + i * a.width;
  const Index target = a.targets[i] - a.first;
  if (threadIdx.x == 0 && target >= 0 && target < a.width) {
    a.at_target[i] = load(row[target]);
  }
  const A high = row_max<T, V>(row, a.width);  // ends behind a barrier: logits may be overwritten
  A sum = 0;
  for (Index p = threadIdx.x; p < a.width / V; p += blockDim.x) {
    Pack<T, V> x = load_pack<V>(row + p * V);
    for (int e = 0; e < V; ++e) {
      const A value = exp_of(load(x.at[e]) - high);
      store(x.at[e], value);
      sum += value;  // before it is rounded to T
    }
    store_pack(row + p * V, x);
  }
  const double total = reduce_block(static_cast<double>(sum), Sum{});
  if (threadIdx.x == 0) {
    a.max[i] = high;
    a.sum[i] = static_cast<A>(total);
  }
}

/// One thread a row, over its J tiles: [J, C] lies so that neighbouring threads read neighbours.
/// Each tile's sum is relative to its own maximum and is brought to the largest one.
template <class A>
__global__ void combine_tiles_kernel(CombineTiles<A> a) {
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.rows) {
    return;
  }
  double high = a.max_to_factor[i];
  for (Index j = 1; j < a.tiles; ++j) {
    high = Max{}(static_cast<double>(a.max_to_factor[j * a.rows + i]), high);
  }
  double total = 0.0;
  for (Index j = 0; j < a.tiles; ++j) {
    total += exp(static_cast<double>(a.max_to_factor[j * a.rows + i]) - high) *
             static_cast<double>(a.sum[j * a.rows + i]);
  }
  const bool ignored = a.targets[i] == kIgnoredTarget;
  const double log_sum = high + log(total);
  a.nll[i] = ignored ? A(0) : static_cast<A>(log_sum - static_cast<double>(a.at_target[i]));
  for (Index j = 0; j < a.tiles; ++j) {
    A& factor = a.max_to_factor[j * a.rows + i];  // still the maximum on the right
    factor = ignored ? A(0) : static_cast<A>(exp(static_cast<double>(factor) - log_sum));
  }
}

/// One thread a row of the tile.
template <class T>
__global__ void subtract_targets_kernel(SubtractTargets<T> a) {
  using A = Acc<T>;
  const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.rows || a.targets[i] == kIgnoredTarget) {
    return;
  }
  const Index target = a.targets[i] - a.first;
  if (target < 0 || target >= a.width) {
    return;
  }
  T* row = a.exps_to_grads + i * a.width;
  double gradient = expm1(-static_cast<double>(a.nll[i])) *
                    (a.slope != nullptr ? static_cast<double>(a.slope[i]) : 1.0);
  if (a.factor[i] < static_cast<A>(kSmallestFactor)) {
    for (Index j = 0; j < a.width; ++j) {
      store(row[j], A(0));
    }
    a.factor[i] = A(1);
  } else {
    gradient /= static_cast<double>(a.factor[i]);
  }
  store(row[target], static_cast<A>(gradient));
}

/// One block a row [width], which is only read.
template <class T, int V>
__global__ void __launch_bounds__(kMostThreads) log_probs_kernel(LogProbs<T> a) {
  using A = Acc<T>;
  const Index i = blockIdx.x;
  const std::int64_t target = a.targets[i];
  if (target == kIgnoredTarget) {
    if (threadIdx.x == 0) {
      a.log_prob[i] = A(0);
      if (a.greedy != nullptr) {
        a.greedy[i] = false;
      }
    }
    return;  // the whole block, so no barrier is left waiting
  }
  const T* row = a.logits + i * a.width;
  const A high = row_max<T, V>(row, a.width);
  A sum = 0;
  int earlier = 0;  // whether a logit before the target's is the maximum
  for (Index p = threadIdx.x; p < a.width / V; p += blockDim.x) {
    const Pack<T, V> x = load_pack<V>(row + p * V);
    for (int e = 0; e < V; ++e) {
      const A logit = load(x.at[e]);
      sum += exp_of(logit - high);
      earlier |= p * V + e < target && !(logit < high) ? 1 : 0;
    }
  }
  const double total = reduce_block(static_cast<double>(sum), Sum{});
  earlier = reduce_block(earlier, Max{});
  if (threadIdx.x == 0) {
    const A at_target = load(row[target]);
    // The two logits first, so that what they have in common cancels exactly.
    a.log_prob[i] =
        static_cast<A>((static_cast<double>(at_target) - static_cast<double>(high)) - log(total));
    if (a.greedy != nullptr) {
      a.greedy[i] = at_target >= high && earlier == 0;
    }
  }
}

/// One block a row [d]; y may be x, as each thread reads what it writes.
template <class T, int V>
__global__ void scale_rows_kernel(ScaleRows<T> a) {
  const Index row = static_cast<Index>(blockIdx.x) * a.d;
  const Acc<T> s = a.scale[blockIdx.x];
  for (Index p = threadIdx.x; p < a.d / V; p += blockDim.x) {
    Pack<T, V> x = load_pack<V>(a.x + row + p * V);
    for (int e = 0; e < V; ++e) {
      store(x.at[e], load(x.at[e]) * s);
    }
    store_pack(a.y + row + p * V, x);
  }
}

/// One block a row [d], one element at a time: x and sum may be of different types.
template <class T>
__global__ void add_scaled_rows_kernel(ScaleRows<T> a) {
  const Index row = static_cast<Index>(blockIdx.x) * a.d;
  const Acc<T> s = a.scale[blockIdx.x];
  for (Index j = threadIdx.x; j < a.d; j += blockDim.x) {
    a.sum[row + j] += load(a.x[row + j]) * s;
  }
}

}  // namespace

template <class T>
void softmax_tile(const SoftmaxTile<T>& a, Stream stream) {
  launch_on_rows<T>(softmax_tile_kernel<T, kPackOf<T>>, softmax_tile_kernel<T, 1>,
                    is_packable<T>(a.width, a.logits_to_exps), a.rows, a.width, kMostThreads,
                    stream, a);
}

template <class A>
void combine_tiles(const CombineTiles<A>& a, Stream stream) {
  constexpr unsigned kThreads = 128;
  launch(combine_tiles_kernel<A>, grid_of_rows((a.rows + kThreads - 1) / kThreads), kThreads,
         stream, a);
}

template <class T>
void subtract_targets(const SubtractTargets<T>& a, Stream stream) {
  constexpr unsigned kThreads = 128;
  launch(subtract_targets_kernel<T>, grid_of_rows((a.rows + kThreads - 1) / kThreads), kThreads,
         stream, a);
}

template <class T>
void log_probs(const LogProbs<T>& a, Stream stream) {
  launch_on_rows<T>(log_probs_kernel<T, kPackOf<T>>, log_probs_kernel<T, 1>,
                    is_packable<T>(a.width, a.logits), a.rows, a.width, kMostThreads, stream, a);
}

template <class T>
void scale_rows(const ScaleRows<T>& a, Stream stream) {
  launch_on_rows<T>(scale_rows_kernel<T, kPackOf<T>>, scale_rows_kernel<T, 1>,
                    is_packable<T>(a.d, a.x, a.y), a.rows, a.d, kFewThreads, stream, a);
}

template <class T>
void add_scaled_rows(const ScaleRows<T>& a, Stream stream) {
  launch(add_scaled_rows_kernel<T>, grid_of_rows(a.rows), threads_for(a.d), stream, a);
}

#define GM_INSTANTIATE(T)                                            \
  template void softmax_tile(const SoftmaxTile<T>&, Stream);         \
  template void subtract_targets(const SubtractTargets<T>&, Stream); \
  template void log_probs(const LogProbs<T>&, Stream);               \
  template void scale_rows(const ScaleRows<T>&, Stream);             \
  template void add_scaled_rows(const ScaleRows<T>&, Stream);
GM_INSTANTIATE(float)
GM_INSTANTIATE(double)
GM_INSTANTIATE(Bf16)
template void combine_tiles(const CombineTiles<float>&, Stream);
template void combine_tiles(const CombineTiles<double>&, Stream);

}  // namespace growmerge::ops::cuda
