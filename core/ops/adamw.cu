// AdamW and the gradient's norm over many tensors a launch: what core/ops/adamw.h defines, in the
// order of operations of core/ops/adamw_kernel.cpp. Compiled without contraction (-fmad=false), as
// that is, so that both give the same bits.
//
// Many tensors a launch, because a model has hundreds of small ones, and a launch costs more than a
// step of such a one. A block takes one piece of kAdamWPiece elements, which lies in one tensor.
#include "core/ops/adamw_factors.h"
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

constexpr unsigned kThreads = 256;

/// One thread: a step's numbers are made where the sums are, so that the host need not wait for
/// them. schedule [AdamWSchedule::kSize], factors [AdamWFactors::kSize], the rest one number each.
__global__ void factors_kernel(const double* schedule, const double* squared_norm,
                               const double* loss_sum, const double* num_targets, double* factors) {
  if (threadIdx.x != 0) {
    return;
  }
  const double targets = *num_targets;
  const double norm = sqrt(*squared_norm) / targets;
  const double most = schedule[AdamWSchedule::kClipNorm];
  const double rate = schedule[AdamWSchedule::kLearningRate];
  const double clip = most > 0.0 && norm > most ? most / norm : 1.0;
  const bool is_finite = targets > 0.0 && isfinite(norm) && isfinite(*loss_sum);
  factors[AdamWFactors::kIsFinite] = is_finite ? 1.0 : 0.0;
  factors[AdamWFactors::kGradScale] = clip / targets;
  factors[AdamWFactors::kStepSize] = rate / schedule[AdamWSchedule::kBiasCorrection1];
  factors[AdamWFactors::kInvRootCorrection2] =
      1.0 / sqrt(schedule[AdamWSchedule::kBiasCorrection2]);
  factors[AdamWFactors::kRate] = rate;
  factors[AdamWFactors::kNorm] = norm;
}

/// One tensor's step, its numbers in the type of the arithmetic.
template <class T>
struct Step {
  T beta1, beta2, rest1, rest2, eps, scale, step_size, correction, keep;

  __device__ T operator()(T param, T grad, T& m, T& v) const {
    const T g = grad * scale;
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * g * g;
    return keep * param - step_size * m / (sqrt(v) * correction + eps);
  }
};

/// Which tensor a piece belongs to. The list is short and the same for all threads of a block.
template <class T>
__device__ int tensor_of(const AdamWTensors<T>& a, int piece) {
  int t = 0;
  while (t + 1 < a.count && a.first[t + 1] <= piece) {
    ++t;
  }
  return t;
}

/// Elements [begin, end) of tensor t, V at a time: end - begin is a multiple of V.
template <class T, int V>
__device__ void step_elements(const AdamWTensors<T>& a, int t, const Step<T>& step, Index begin,
                              Index end) {
  for (Index i = begin + static_cast<Index>(threadIdx.x) * V; i < end;
       i += static_cast<Index>(blockDim.x) * V) {
    Pack<T, V> param = load_pack<V>(a.param[t] + i);
    const Pack<T, V> grad = load_pack<V>(a.grad[t] + i);
    Pack<T, V> m = load_pack<V>(a.m[t] + i);
    Pack<T, V> v = load_pack<V>(a.v[t] + i);
    Pack<Bf16, V> copy;
    for (int e = 0; e < V; ++e) {
      param.at[e] = step(param.at[e], grad.at[e], m.at[e], v.at[e]);
      store(copy.at[e], static_cast<float>(param.at[e]));
    }
    store_pack(a.param[t] + i, param);
    store_pack(a.m[t] + i, m);
    store_pack(a.v[t] + i, v);
    if (a.copy[t] != nullptr) {
      store_pack(a.copy[t] + i, copy);
    }
  }
}

/// Whether all of a tensor's arrays can be read in 16 bytes: views into a larger one need not begin
/// so.
template <class T>
__device__ bool is_aligned(const AdamWTensors<T>& a, int t) {
  const auto bits =
      reinterpret_cast<std::uintptr_t>(a.param[t]) | reinterpret_cast<std::uintptr_t>(a.grad[t]) |
      reinterpret_cast<std::uintptr_t>(a.m[t]) | reinterpret_cast<std::uintptr_t>(a.v[t]) |
      reinterpret_cast<std::uintptr_t>(a.copy[t]);
  return bits % 16 == 0;
}

/// One block a piece, in place: param, m, v [n], and the copy where there is one. Numbers are
/// rounded to T as core/ops/adamw_kernel.cpp rounds them.
template <class T>
__global__ void step_kernel(const AdamWTensors<T> a, AdamWConstants c, const double* factors) {
  if (factors[AdamWFactors::kIsFinite] == 0.0) {  // nothing may change
    return;
  }
  constexpr int V = kPackOf<T>;
  const int piece = static_cast<int>(blockIdx.x);
  const int t = tensor_of(a, piece);
  const Index begin = static_cast<Index>(piece - a.first[t]) * kAdamWPiece;
  const Index end = begin + kAdamWPiece < a.n[t] ? begin + kAdamWPiece : a.n[t];
  const Step<T> step{
      static_cast<T>(c.beta1),
      static_cast<T>(c.beta2),
      static_cast<T>(1.0 - c.beta1),
      static_cast<T>(1.0 - c.beta2),
      static_cast<T>(c.eps),
      static_cast<T>(factors[AdamWFactors::kGradScale]),
      static_cast<T>(factors[AdamWFactors::kStepSize]),
      static_cast<T>(factors[AdamWFactors::kInvRootCorrection2]),
      static_cast<T>(a.decayed[t] ? 1.0 - factors[AdamWFactors::kRate] * c.weight_decay : 1.0)};
  // Whole packs, then what is left of the tensor one by one.
  const Index whole = is_aligned(a, t) ? begin + (end - begin) / V * V : begin;
  step_elements<T, V>(a, t, step, begin, whole);
  step_elements<T, 1>(a, t, step, whole, end);
}

/// sums [pieces]: one block a piece, and one number, so that no two blocks add to the same one.
template <class T>
__global__ void squares_kernel(const AdamWTensors<T> a, double* sums) {
  const int piece = static_cast<int>(blockIdx.x);
  const int t = tensor_of(a, piece);
  const Index begin = static_cast<Index>(piece - a.first[t]) * kAdamWPiece;
  const Index end = begin + kAdamWPiece < a.n[t] ? begin + kAdamWPiece : a.n[t];
  double sum = 0.0;
  for (Index i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double value = static_cast<double>(a.grad[t][i]);  // squares of float32 are exact here
    sum += value * value;
  }
  sum = reduce_block(sum, Sum{});
  if (threadIdx.x == 0) {
    sums[piece] = sum;
  }
}

/// One block adds sums [pieces]: thread by thread, then over the block, an order that never
/// changes.
__global__ void __launch_bounds__(kMostThreads)
    sum_kernel(Index pieces, const double* sums, double* total) {
  double sum = 0.0;
  for (Index i = threadIdx.x; i < pieces; i += blockDim.x) {
    sum += sums[i];
  }
  sum = reduce_block(sum, Sum{});
  if (threadIdx.x == 0) {
    *total = sum;
  }
}

}  // namespace

void adamw_factors(const double* schedule, const double* squared_norm, const double* loss_sum,
                   const double* num_targets, double* factors, Stream stream) {
  launch(factors_kernel, dim3(1), kWarp, stream, schedule, squared_norm, loss_sum, num_targets,
         factors);
}

template <class T>
void adamw_step(const AdamWTensors<T>& tensors, const AdamWConstants& constants,
                const double* factors, Stream stream) {
  launch(step_kernel<T>, grid_of_rows(tensors.pieces), kThreads, stream, tensors, constants,
         factors);
}

template <class T>
void squared_norm_pieces(const AdamWTensors<T>& tensors, double* sums, Stream stream) {
  launch(squares_kernel<T>, grid_of_rows(tensors.pieces), kThreads, stream, tensors, sums);
}

void sum_pieces(Index pieces, const double* sums, double* total, Stream stream) {
  launch(sum_kernel, dim3(1), kMostThreads, stream, pieces, sums, total);
}

#define GM_INSTANTIATE(T)                                                                         \
  template void adamw_step(const AdamWTensors<T>&, const AdamWConstants&, const double*, Stream); \
  template void squared_norm_pieces(const AdamWTensors<T>&, double*, Stream);
GM_INSTANTIATE(float)
GM_INSTANTIATE(double)

}  // namespace growmerge::ops::cuda
