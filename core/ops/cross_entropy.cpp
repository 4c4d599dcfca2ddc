#include "core/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/contracts/batch_source.h"
#include "core/ops/dispatch.h"

// Shapes (legend: kernels/kernels.h): logits [C, T] of a tile or [C, V]; max, sum, factor [J, C];
// targets, nll, slope, log_prob, greedy, scale [C]; x [C, D].
namespace growmerge::ops {
namespace {

template <class T>
T rounded(Acc<T> x) {
  if constexpr (std::is_same_v<T, Bf16>) {
    return {c10::BFloat16(x).x};
  } else {
    return x;
  }
}

}  // namespace

void softmax_tile_(const at::Tensor& logits_to_exps_CT, std::int64_t first,
                   const at::Tensor& targets_C, const at::Tensor& max_C, const at::Tensor& sum_C,
                   const at::Tensor& at_target_C) {
  if (logits_to_exps_CT.is_cuda()) {
    return cuda_ops().softmax_tile_(logits_to_exps_CT, first, targets_C, max_C, sum_C, at_target_C);
  }
  const profile::Scope scope("softmax_tile", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({logits_to_exps_CT, logits_to_exps_CT})};
  });
  const std::int64_t width = logits_to_exps_CT.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  dispatch(logits_to_exps_CT.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    T* logits_to_exps = data<T>(logits_to_exps_CT);
    A* max = data<A>(max_C);
    A* sum = data<A>(sum_C);
    A* at_target = data<A>(at_target_C);
    const std::int64_t rows = logits_to_exps_CT.size(0);
    at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        // Outside of [0, width) the target lies in another tile, or is ignored (negative).
        kernels<T>().softmax_tile_row(width, logits_to_exps + i * width, targets[i] - first,
                                      max + i, sum + i, at_target + i);
      }
    });
  });
}

void combine_tiles_(const at::Tensor& max_to_factor_JC, const at::Tensor& sum_JC,
                    const at::Tensor& at_target_C, const at::Tensor& targets_C,
                    const at::Tensor& nll_C) {
  if (max_to_factor_JC.is_cuda()) {
    return cuda_ops().combine_tiles_(max_to_factor_JC, sum_JC, at_target_C, targets_C, nll_C);
  }
  const profile::Scope scope("combine_tiles", [&] {
    return profile::Work{.flops = 0.0,
                         .bytes = bytes_of({max_to_factor_JC, max_to_factor_JC, sum_JC})};
  });
  const std::int64_t tiles = max_to_factor_JC.size(0);
  const std::int64_t rows = max_to_factor_JC.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  dispatch(max_to_factor_JC.scalar_type(), [&](auto type) {
    using A = Acc<typename decltype(type)::type>;
    A* max_to_factor = data<A>(max_to_factor_JC);
    const A* sum = const_data<A>(sum_JC);
    const A* at_target = const_data<A>(at_target_C);
    A* nll = data<A>(nll_C);
    // Log-sum-exp of row i over its tiles: each tile's sum is relative to its own maximum, so it is
    // brought to the largest one first, and no exponential overflows. In float64, because the sum
    // of a whole vocabulary ends here and its logarithm is compared with a single logit.
    const auto combine = [&](std::int64_t i) {
      double high = max_to_factor[i];
      for (std::int64_t j = 1; j < tiles; ++j) {
        high = std::max<double>(high, max_to_factor[j * rows + i]);
      }
      double total = 0.0;
      for (std::int64_t j = 0; j < tiles; ++j) {
        total += std::exp(max_to_factor[j * rows + i] - high) * sum[j * rows + i];
      }
      const bool ignored = targets[i] == Batch::kIgnoredTarget;
      const double log_sum = high + std::log(total);
      nll[i] = ignored ? A(0) : static_cast<A>(log_sum - at_target[i]);
      for (std::int64_t j = 0; j < tiles; ++j) {
        A& factor = max_to_factor[j * rows + i];  // still the maximum on the right
        factor = ignored ? A(0) : static_cast<A>(std::exp(factor - log_sum));
      }
    };
    // A tile's exponentials and a logarithm are counted as 100 elements.
    at::parallel_for(0, rows, grain(100 * tiles), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        combine(i);
      }
    });
  });
}

void subtract_targets_(const at::Tensor& exps_to_grads_CT, std::int64_t first,
                       const at::Tensor& targets_C, const at::Tensor& nll_C,
                       const at::Tensor& slope_C, const at::Tensor& factor_C) {
  if (exps_to_grads_CT.is_cuda()) {
    return cuda_ops().subtract_targets_(exps_to_grads_CT, first, targets_C, nll_C, slope_C,
                                        factor_C);
  }
  const std::int64_t rows = exps_to_grads_CT.size(0);
  const std::int64_t width = exps_to_grads_CT.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  dispatch(exps_to_grads_CT.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    T* exps_to_grads = data<T>(exps_to_grads_CT);
    const A* nll = const_data<A>(nll_C);
    const A* slope = slope_C.defined() ? const_data<A>(slope_C) : nullptr;
    A* factor = data<A>(factor_C);
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t target = targets[i] - first;
      if (targets[i] == Batch::kIgnoredTarget || target < 0 || target >= width) {
        continue;
      }
      T* row = exps_to_grads + i * width;
      double gradient =
          std::expm1(-static_cast<double>(nll[i])) * (slope != nullptr ? slope[i] : 1);
      if (factor[i] < static_cast<A>(kSmallestFactor)) {
        std::fill_n(row, width, T{});
        factor[i] = A(1);
      } else {
        gradient /= factor[i];
      }
      row[target] = rounded<T>(static_cast<A>(gradient));
    }
  });
}

void log_probs(const at::Tensor& logits_CV, const at::Tensor& targets_C,
               const at::Tensor& log_prob_C, const at::Tensor& greedy_C) {
  if (logits_CV.is_cuda()) {
    return cuda_ops().log_probs(logits_CV, targets_C, log_prob_C, greedy_C);
  }
  const profile::Scope scope(
      "log_probs", [&] { return profile::Work{.flops = 0.0, .bytes = bytes_of({logits_CV})}; });
  const std::int64_t v = logits_CV.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  bool* greedy = greedy_C.defined() ? data<bool>(greedy_C) : nullptr;
  dispatch(logits_CV.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    const T* logits = const_data<T>(logits_CV);
    A* out = data<A>(log_prob_C);
    at::parallel_for(0, logits_CV.size(0), grain(v), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        bool is_greedy = false;  // asked for only where wanted: it may need a second pass
        out[i] = targets[i] == Batch::kIgnoredTarget
                     ? A(0)
                     : kernels<T>().log_prob_row(v, logits + i * v, targets[i],
                                                 greedy != nullptr ? &is_greedy : nullptr);
        if (greedy != nullptr) {
          greedy[i] = is_greedy;
        }
      }
    });
  });
}

void scale_rows(const at::Tensor& x_CD, const at::Tensor& scale_C, const at::Tensor& y_CD) {
  if (x_CD.is_cuda()) {
    return cuda_ops().scale_rows(x_CD, scale_C, y_CD);
  }
  const profile::Scope scope("scale_rows", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({x_CD, y_CD})};
  });
  const std::int64_t d = x_CD.size(1);
  dispatch(x_CD.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = const_data<T>(x_CD);
    const auto* scale = const_data<Acc<T>>(scale_C);
    T* y = data<T>(y_CD);
    at::parallel_for(0, x_CD.size(0), grain(d), [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().scale_rows(end - begin, d, x + begin * d, scale + begin, y + begin * d);
    });
  });
}

void add_scaled_rows(const at::Tensor& x_CD, const at::Tensor& scale_C, const at::Tensor& sum_CD) {
  if (x_CD.is_cuda()) {
    return cuda_ops().add_scaled_rows(x_CD, scale_C, sum_CD);
  }
  const profile::Scope scope("add_scaled_rows", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({x_CD, sum_CD, sum_CD})};
  });
  const std::int64_t d = x_CD.size(1);
  dispatch(x_CD.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = const_data<T>(x_CD);
    const auto* scale = const_data<Acc<T>>(scale_C);
    auto* sum = data<Acc<T>>(sum_CD);
    at::parallel_for(0, x_CD.size(0), grain(d), [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().add_scaled_rows(end - begin, d, x + begin * d, scale + begin, sum + begin * d);
    });
  });
}

}  // namespace growmerge::ops
