// Shapes (legend: kernels.h): one row of logits at a time, [width] of a tile or [v] of the
// vocabulary; x, y, sum of the row operators [rows, d].
#include "core/ops/kernels/units.h"

namespace growmerge::ops {
namespace {

/// Of logits [v]. A maximum has no rounding, so its order is the compiler's.
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

// A vocabulary-long float32 sum of exponentials loses digits, so it is summed in blocks, and those
// in float64. A block is a multiple of every vector's length.
constexpr Index kSumBlock = 1024;

/// exp of x <= 0 for results of type T: those that are rounded to bfloat16 need fewer digits.
template <class T, class V>
GM_INLINE V exp_for(V x) {
  if constexpr (sizeof(T) < sizeof(Element<V>)) {
    return exp2_below_one<T>(x * static_cast<float>(kLog2E));
  } else {
    return exp_below_one(x);
  }
}

// logits [width] -> exp(logits - max) in place, their maximum and the sum of the exponentials. Less
// the maximum none of them overflows, and the sum is 1 or more.
template <class T>
void softmax_tile_row(Index width, T* logits_to_exps, Index target, Acc<T>* max, Acc<T>* sum,
                      Acc<T>* at_target) {
  using A = Acc<T>;
  if (target >= 0 && target < width) {
    *at_target = load(logits_to_exps[target]);  // before it is overwritten
  }
  const A high = row_max(width, logits_to_exps);
  double total = 0.0;
  for (Index begin = 0; begin < width; begin += kSumBlock) {
    const Index end = begin + kSumBlock < width ? begin + kSumBlock : width;
    Sum<A> block;
    for_elements<T>(end - begin, [&]<class V>(Index j) {
      T* at = logits_to_exps + begin + j;
      const V e = exp_for<T>(load_as<V>(at) - high);
      store_as(at, e);
      block.add(e);  // before it is rounded to T
    });
    total += static_cast<double>(block.total());
  }
  *max = high;
  *sum = static_cast<A>(total);
}

#if defined(__AVX512BF16__)
/// Elements of even and odd columns from x on: two bfloat16 lie in 32 bits, and each is a float32
/// when the other is shifted or masked away.
struct EvenAndOdd {
  Vector even, odd;
};
GM_INLINE EvenAndOdd load_even_and_odd(const Bf16* x) {
  const auto both = __builtin_bit_cast(Bits, *reinterpret_cast<const TwoHalves*>(x));
  return {(Vector)(both << 16), (Vector)(both & 0xffff0000U)};
}

/// The same for bfloat16, two vectors at a time; even columns and odd ones need not be parted.
void softmax_tile_row_bf16(Index width, Bf16* logits_to_exps, Index target, float* max, float* sum,
                           float* at_target) {
  constexpr Index kColumns = 2 * kLanes;
  const Index whole = width / kColumns * kColumns;
  float rest_sum = 0.0F;
  if (target >= 0 && target < width) {
    *at_target = load(logits_to_exps[target]);
  }
  Vector top = Vector{} + load(logits_to_exps[0]);
  Vector top_odd = top;
  for (Index j = 0; j < whole; j += kColumns) {
    const EvenAndOdd x = load_even_and_odd(logits_to_exps + j);
    top = x.even > top ? x.even : top;
    top_odd = x.odd > top_odd ? x.odd : top_odd;
  }
  top = top_odd > top ? top_odd : top;
  float high = whole < width ? row_max(width - whole, logits_to_exps + whole) : top[0];
  for (Index i = 0; i < kLanes; ++i) {
    high = top[i] > high ? top[i] : high;
  }
  double total = 0.0;
  for (Index begin = 0; begin < whole; begin += kSumBlock) {
    const Index end = begin + kSumBlock < whole ? begin + kSumBlock : whole;
    Sum<float> block;
    for (Index j = begin; j < end; j += kColumns) {
      const EvenAndOdd x = load_even_and_odd(logits_to_exps + j);
      const Vector even = exp_for<Bf16>(x.even - high);
      const Vector odd = exp_for<Bf16>(x.odd - high);
      block.add(even + odd);
      store_pairs(rounded(even, odd), logits_to_exps + j);  // side by side again
    }
    total += static_cast<double>(block.total());
  }
  for (Index j = whole; j < width; ++j) {
    const float e = exp_for<Bf16>(load(logits_to_exps[j]) - high);
    store(logits_to_exps[j], e);
    rest_sum += e;
  }
  *max = high;
  *sum = static_cast<float>(total + static_cast<double>(rest_sum));
}
#endif

/// logits [v] are only read.
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
    // Ties go to the first, as argmax breaks them: no earlier logit may equal the maximum.
    bool first = at_target >= high;
    for (Index j = 0; first && j < target; ++j) {
      first = load(logits[j]) < high;
    }
    *greedy = first;
  }
  // The two logits first, so that what they have in common cancels exactly.
  return static_cast<A>((static_cast<double>(at_target) - high) - __builtin_log(total));
}

/// y_i = scale_i x_i: x, y [rows, d], scale [rows].
template <class T>
void scale_rows(Index rows, Index d, const T* x, const Acc<T>* scale, T* y) {
  for (Index i = 0; i < rows; ++i) {
    const Acc<T> s = scale[i];
    for_elements<T>(
        d, [&]<class V>(Index j) { store_as(y + i * d + j, load_as<V>(x + i * d + j) * s); });
  }
}

/// sum_i += scale_i x_i: x, sum [rows, d], scale [rows].
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
