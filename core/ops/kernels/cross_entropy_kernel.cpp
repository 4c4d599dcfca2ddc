#include "core/ops/kernels/units.h"

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

/// exp of x <= 0 for results of type T.
template <class T, class V>
GM_INLINE V exp_for(V x) {
  if constexpr (sizeof(T) < sizeof(Element<V>)) {
    return exp2_below_one<T>(x * static_cast<float>(kLog2E));
  } else {
    return exp_below_one(x);
  }
}

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
    Sum<A> block;
    for_elements<T>(end - begin, [&]<class V>(Index j) {
      T* at = logits + begin + j;
      const V e = exp_for<T>(load_as<V>(at) - high);
      store_as(at, e);
      block.add(e);
    });
    total += static_cast<double>(block.total());
  }
  *max = high;
  *sum = static_cast<A>(total);
}

#if defined(__AVX512BF16__)
/// Elements of even and odd columns from x on.
struct EvenAndOdd {
  Vector even, odd;
};
GM_INLINE EvenAndOdd load_even_and_odd(const Bf16* x) {
  const auto both = __builtin_bit_cast(Bits, *reinterpret_cast<const TwoHalves*>(x));
  return {(Vector)(both << 16), (Vector)(both & 0xffff0000U)};
}

/// The same for bfloat16, two vectors at a time; even columns and odd ones need not be parted.
void softmax_tile_row_bf16(Index width, Bf16* logits, Index target, float* max, float* sum,
                           float* at_target) {
  constexpr Index kColumns = 2 * kLanes;
  const Index whole = width / kColumns * kColumns;
  float rest_sum = 0.0F;
  if (target >= 0 && target < width) {
    *at_target = load(logits[target]);
  }
  Vector top = Vector{} + load(logits[0]);
  Vector top_odd = top;
  for (Index j = 0; j < whole; j += kColumns) {
    const EvenAndOdd x = load_even_and_odd(logits + j);
    top = x.even > top ? x.even : top;
    top_odd = x.odd > top_odd ? x.odd : top_odd;
  }
  top = top_odd > top ? top_odd : top;
  float high = whole < width ? row_max(width - whole, logits + whole) : top[0];
  for (Index i = 0; i < kLanes; ++i) {
    high = top[i] > high ? top[i] : high;
  }
  double total = 0.0;
  for (Index begin = 0; begin < whole; begin += kSumBlock) {
    const Index end = begin + kSumBlock < whole ? begin + kSumBlock : whole;
    Sum<float> block;
    for (Index j = begin; j < end; j += kColumns) {
      const EvenAndOdd x = load_even_and_odd(logits + j);
      const Vector even = exp_for<Bf16>(x.even - high);
      const Vector odd = exp_for<Bf16>(x.odd - high);
      block.add(even + odd);
      store_pairs(rounded(even, odd), logits + j);
    }
    total += static_cast<double>(block.total());
  }
  for (Index j = whole; j < width; ++j) {
    const float e = exp_for<Bf16>(load(logits[j]) - high);
    store(logits[j], e);
    rest_sum += e;
  }
  *max = high;
  *sum = static_cast<float>(total + static_cast<double>(rest_sum));
}
#endif

template <class T>
Acc<T> log_prob_row(Index v, const T* logits, Index target, bool* greedy) {
  using A = Acc<T>;
  const A high = row_max(v, logits);
  const A at_target = load(logits[target]);
  double total = 0.0;
  for (Index begin = 0; begin < v; begin += kSumBlock) {
    const Index end = begin + kSumBlock < v ? begin + kSumBlock : v;
    Sum<A> block;
    for_elements<T>(end - begin, [&]<class V>(Index j) {
      block.add(exp_below_one(load_as<V>(logits + begin + j) - high));
    });
    total += static_cast<double>(block.total());
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
    for_elements<T>(
        d, [&]<class V>(Index j) { store_as(y + i * d + j, load_as<V>(x + i * d + j) * s); });
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
#if defined(__AVX512BF16__)
  set.bf16.softmax_tile_row = softmax_tile_row_bf16;
#endif
}
}  // namespace GM_ISA

}  // namespace growmerge::ops
