#include "core/ops/linear.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "core/ops/dispatch.h"

namespace growmerge::ops {
namespace {

void product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, double beta) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  at::Tensor out = c;
  if (beta == 0.0) {
    at::mm_out(out, a, b);
  } else {
    at::addmm_out(out, c, a, b, beta, 1.0);
  }
}

}  // namespace

void linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& y,
                    double beta) {
  GM_ON_CUDA(x, linear_forward(x, weight, y, beta));
  const profile::Scope scope("linear_forward", [&] {
    return profile::Work{
        .flops = 2.0 * static_cast<double>(x.numel()) * static_cast<double>(y.size(1)),
        .bytes = bytes_of({x, weight, y})};
  });
  product(x, weight.t(), y, beta);
}

void linear_backward_input(const at::Tensor& dy, const at::Tensor& weight, const at::Tensor& dx,
                           double beta) {
  GM_ON_CUDA(dy, linear_backward_input(dy, weight, dx, beta));
  const profile::Scope scope("linear_backward_input", [&] {
    return profile::Work{
        .flops = 2.0 * static_cast<double>(dy.numel()) * static_cast<double>(dx.size(1)),
        .bytes = bytes_of({dy, weight, dx})};
  });
  product(dy, weight, dx, beta);
}

void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& dweight,
                            double scale) {
  GM_ON_CUDA(dy, linear_backward_weight(dy, x, dweight, scale));
  const profile::Scope scope("linear_backward_weight", [&] {
    return profile::Work{
        .flops = 2.0 * static_cast<double>(dy.numel()) * static_cast<double>(x.size(1)),
        .bytes = bytes_of({dy, x, dweight, dweight})};
  });
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  at::Tensor out = dweight;
  if (dy.scalar_type() == dweight.scalar_type()) {
    at::addmm_out(out, dweight, dy.t(), x, 1.0, scale);
  } else {
    out.add_(at::mm(dy.t(), x), scale);
  }
}

}  // namespace growmerge::ops
