#include "core/ops/cross_entropy.h"

#include <algorithm>

#include "core/batch_source.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops {

void cross_entropy_(const at::Tensor& logits_CV, const at::Tensor& targets_C,
                    const at::Tensor& nll_C, const at::Tensor& inverse_C) {
  const std::int64_t v = logits_CV.size(1);
  const auto* targets = const_data<std::int64_t>(targets_C);
  dispatch(logits_CV.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    T* logits = data<T>(logits_CV);
    A* nll = data<A>(nll_C);
    A* inverse = data<A>(inverse_C);
    at::parallel_for(0, logits_CV.size(0), grain(v), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        T* row = logits + i * v;
        if (targets[i] == Batch::kIgnoredTarget) {
          std::fill(row, row + v, T{});
          nll[i] = 0;
          inverse[i] = 0;
        } else {
          inverse[i] = kernels<T>().cross_entropy_row(v, row, targets[i], nll + i);
        }
      }
    });
  });
}

void log_probs(const at::Tensor& logits_CV, const at::Tensor& targets_C,
               const at::Tensor& log_prob_C, const at::Tensor& greedy_C) {
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

}  // namespace growmerge::ops
