#include "core/ops/row_losses.h"

#include "core/contracts/batch_source.h"
#include "core/ops/dispatch.h"

// Shapes (legend: kernels/kernels.h): nll, targets [N]; loss_sum, num_targets [R].
namespace growmerge::ops {

void row_losses(const at::Tensor& nll_N, const at::Tensor& targets_N, std::int64_t row_tokens,
                const at::Tensor& loss_sum_R, const at::Tensor& num_targets_R) {
  if (nll_N.is_cuda()) {
    return cuda_ops().row_losses(nll_N, targets_N, row_tokens, loss_sum_R, num_targets_R);
  }
  const std::int64_t rows = loss_sum_R.numel();
  GM_ASSERT(nll_N.numel() == rows * row_tokens && targets_N.numel() == nll_N.numel());
  const auto* targets = const_data<std::int64_t>(targets_N);
  auto* sums = data<double>(loss_sum_R);
  auto* counts = data<std::int64_t>(num_targets_R);
  dispatch(nll_N.scalar_type(), [&](auto type) {
    using A = Acc<typename decltype(type)::type>;
    const A* nll = const_data<A>(nll_N);
    for (std::int64_t row = 0; row < rows; ++row) {
      double sum = 0.0;  // float64: thousands of float32 losses are added up
      std::int64_t count = 0;
      for (std::int64_t i = row * row_tokens; i < (row + 1) * row_tokens; ++i) {
        if (targets[i] != Batch::kIgnoredTarget) {
          sum += static_cast<double>(nll[i]);
          ++count;
        }
      }
      sums[row] = sum;
      counts[row] = count;
    }
  });
}

}  // namespace growmerge::ops
