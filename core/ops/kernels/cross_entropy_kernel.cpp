#include "core/ops/kernels/numeric.h"

namespace growmerge::ops {
namespace {

template <class T>
Acc<T> row_max(Index v, const T* logits) {
  using A = Acc<T>;
  A high = load(logits[0]);
#pragma omp simd reduction(max : high)
  for (Index j = 0; j < v; ++j) {
    const A x = load(logits[j]);
    high = x > high ? x : high;
  }
  return high;
}

// A vocabulary-long float32 sum of exponentials loses digits, so it is summed in blocks.
constexpr Index kSumBlock = 1024;

// logits -> exp(logits - max), their maximum and the sum of the exponentials.
template <class T>
void softmax_tile_row(Index width, T* logits, Index target, Acc<T>* max, Acc<T>* sum,
                      Acc<T>* at_target) {
  using A = Acc<T>;
  if (target >= 0 && target < width) {
    *at_target = load(logits[target]);
  }
  const A high = row_max(width, logits);
  double total = 0.0;
  for (Index begin = 0; begin < width; begin += kSumBlock) {
    const Index end = begin + kSumBlock < width ? begin + kSumBlock : width;
    A block = 0;
#pragma omp simd reduction(+ : block)
    for (Index j = begin; j < end; ++j) {
      const A e = exp_below_one(load(logits[j]) - high);
      store(logits[j], e);
      block += e;
    }
    total += static_cast<double>(block);
  }
  *max = high;
  *sum = static_cast<A>(total);
}

template <class T>
Acc<T> log_prob_row(Index v, const T* logits, Index target, bool* greedy) {
  using A = Acc<T>;
  const A high = row_max(v, logits);
  const A at_target = load(logits[target]);
  double total = 0.0;
  for (Index begin = 0; begin < v; begin += kSumBlock) {
    const Index end = begin + kSumBlock < v ? begin + kSumBlock : v;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Index j = begin; j < end; ++j) {
      sum += exp_below_one(load(logits[j]) - high);
    }
    total += static_cast<double>(sum);
  }
  if (greedy != nullptr) {
    bool first = at_target >= high;
    for (Index j = 0; first && j < target; ++j) {
      first = load(logits[j]) < high;
    }
    *greedy = first;
  }
  return static_cast<A>((static_cast<double>(at_target) - high) - __builtin_log(total));
}

template <class T>
void scale_rows(Index rows, Index d, const T* x, const Acc<T>* scale, T* y) {
  for (Index i = 0; i < rows; ++i) {
    const Acc<T> s = scale[i];
#pragma omp simd
    for (Index j = 0; j < d; ++j) {
      store(y[i * d + j], load(x[i * d + j]) * s);
    }
  }
}

template <class T>
void add_scaled_rows(Index rows, Index d, const T* x, const Acc<T>* scale, Acc<T>* sum) {
  for (Index i = 0; i < rows; ++i) {
    const Acc<T> s = scale[i];
#pragma omp simd
    for (Index j = 0; j < d; ++j) {
      sum[i * d + j] += load(x[i * d + j]) * s;
    }
  }
}

template <class T>
void fill(Kernels<T>& k) {
  k.softmax_tile_row = softmax_tile_row<T>;
  k.add_scaled_rows = add_scaled_rows<T>;
  k.log_prob_row = log_prob_row<T>;
  k.scale_rows = scale_rows<T>;
}

}  // namespace

namespace GM_ISA {
void fill_cross_entropy(KernelSet& set) {
  fill(set.f32);
  fill(set.f64);
  fill(set.bf16);
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
