// One block a row of the batch. Shapes (legend: core/ops/kernels/kernels.h): nll, targets [N];
// loss_sum, num_targets [R].
#include "core/ops/cuda/device.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {
namespace {

/// Thread by thread in float64, then over the block: an order that depends on row_tokens alone.
template <class A>
__global__ void row_losses_kernel(RowLosses<A> a) {
  const Index begin = static_cast<Index>(blockIdx.x) * a.row_tokens;
  double sum = 0.0;
  int count = 0;
  for (Index i = threadIdx.x; i < a.row_tokens; i += blockDim.x) {
    if (a.targets[begin + i] != kIgnoredTarget) {
      sum += static_cast<double>(a.nll[begin + i]);
      ++count;
    }
  }
  sum = reduce_block(sum, Sum{});
  count = reduce_block(count, Sum{});
  if (threadIdx.x == 0) {
    a.loss_sum[blockIdx.x] = sum;
    a.num_targets[blockIdx.x] = count;
  }
}

}  // namespace

template <class A>
void row_losses(const RowLosses<A>& a, Stream stream) {
  launch(row_losses_kernel<A>, grid_of_rows(a.rows), threads_for(a.row_tokens), stream, a);
}

template void row_losses(const RowLosses<float>&, Stream);
template void row_losses(const RowLosses<double>&, Stream);

}  // namespace growmerge::ops::cuda
