#include "core/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "core/contracts/batch_source.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops {

void softmax_tile_(const at::Tensor& logits_CT, std::int64_t first, const at::Tensor& targets_C,
                   const at::Tensor& max_C, const at::Tensor& sum_C,
                   const at::Tensor& at_target_C) {
  if (logits_CT.is_cuda()) {
    return cuda_ops().softmax_tile_(logits_CT, first, targets_C, max_C, sum_C, at_target_C);
  }
  const profile::Scope scope("softmax_tile", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({logits_CT, logits_CT})};
  });
  const std::int64_t width = logits_CT.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  dispatch(logits_CT.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    T* logits = data<T>(logits_CT);
    A* max = data<A>(max_C);
    A* sum = data<A>(sum_C);
    A* at_target = data<A>(at_target_C);
    at::parallel_for(0, logits_CT.size(0), grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        kernels<T>().softmax_tile_row(width, logits + i * width, targets[i] - first, max + i,
                                      sum + i, at_target + i);
      }
    });
  });
}

void combine_tiles_(const at::Tensor& max_KC, const at::Tensor& sum_KC,
                    const at::Tensor& at_target_C, const at::Tensor& targets_C,
                    const at::Tensor& nll_C) {
  if (max_KC.is_cuda()) {
    return cuda_ops().combine_tiles_(max_KC, sum_KC, at_target_C, targets_C, nll_C);
  }
  const profile::Scope scope("combine_tiles", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({max_KC, max_KC, sum_KC})};
  });
  const std::int64_t tiles = max_KC.size(0);
  const std::int64_t rows = max_KC.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  dispatch(max_KC.scalar_type(), [&](auto type) {
    using A = Acc<typename decltype(type)::type>;
    A* max = data<A>(max_KC);
    const A* sum = const_data<A>(sum_KC);
    const A* at_target = const_data<A>(at_target_C);
    A* nll = data<A>(nll_C);
    const auto combine = [&](std::int64_t i) {
      double high = max[i];
      for (std::int64_t k = 1; k < tiles; ++k) {
        high = std::max<double>(high, max[k * rows + i]);
      }
      double total = 0.0;
      for (std::int64_t k = 0; k < tiles; ++k) {
        total += std::exp(max[k * rows + i] - high) * sum[k * rows + i];
      }
      const bool ignored = targets[i] == Batch::kIgnoredTarget;
      const double log_sum = high + std::log(total);
      nll[i] = ignored ? A(0) : static_cast<A>(log_sum - at_target[i]);
      for (std::int64_t k = 0; k < tiles; ++k) {
        A& factor = max[k * rows + i];
        factor = ignored ? A(0) : static_cast<A>(std::exp(factor - log_sum));
      }
    };
    at::parallel_for(0, rows, grain(100 * tiles), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        combine(i);
      }
    });
  });
}

void subtract_targets(const at::Tensor& targets_C, double scale, const at::Tensor& weight_VD,
                      const at::Tensor& x_CD, const at::Tensor& dx_CD,
                      const at::Tensor& scaled_CD) {
  if (x_CD.is_cuda()) {
    return cuda_ops().subtract_targets(targets_C, scale, weight_VD, x_CD, dx_CD, scaled_CD);
  }
  const profile::Scope scope("subtract_targets", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({x_CD, x_CD, dx_CD, dx_CD, scaled_CD})};
  });
  const std::int64_t d = x_CD.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  dispatch(x_CD.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    const T* weight = const_data<T>(weight_VD);
    const T* x = const_data<T>(x_CD);
    A* dx = data<A>(dx_CD);
    T* scaled = data<T>(scaled_CD);
    at::parallel_for(0, x_CD.size(0), grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const A by = targets[i] == Batch::kIgnoredTarget ? A(0) : static_cast<A>(-scale);
        kernels<T>().scale_rows(1, d, x + i * d, &by, scaled + i * d);
        if (by != A(0)) {
          kernels<T>().add_scaled_rows(1, d, weight + targets[i] * d, &by, dx + i * d);
        }
      }
    });
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
        bool is_greedy = false;
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
