// Attention's inner loops in every instruction set, against float64.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>

#include "core/ops/dispatch.h"
#include "core/ops/kernel_set.h"

namespace growmerge::ops {
namespace {

constexpr at::ScalarType kF64 = at::ScalarType::Double;
constexpr std::int64_t kLength = 77;

double max_difference(const at::Tensor& x, const at::Tensor& y) {
  return (x.to(kF64) - y.to(kF64)).abs().max().item<double>();
}

// One head of one segment; q, k, v, dO [kLength, h].
class OneHead {
 public:
  OneHead(std::int64_t head_dim, at::ScalarType dtype) : h(head_dim) {
    for (at::Tensor* x : {&q, &k, &v, &dout}) {
      *x = at::randn({kLength, h}).to(dtype);
    }
    for (at::Tensor* x : {&out, &dq, &dk, &dv}) {
      *x = at::full({kLength, h}, std::nan(""), dtype);
    }
    lse = at::full({kLength}, std::nan(""));
  }

  template <class T>
  void run(const Kernels<T>& kernels) {
    AttentionTask<T> t;
    t.q = const_data<T>(q);
    t.k = const_data<T>(k);
    t.v = const_data<T>(v);
    t.out = data<T>(out);
    t.lse = data<float>(lse);
    t.dout = const_data<T>(dout);
    t.dq = data<T>(dq);
    t.dk = data<T>(dk);
    t.dv = data<T>(dv);
    t.q_stride = t.kv_stride = t.head_dim = h;
    t.q_len = t.k_len = t.lse_stride = kLength;
    t.scale = 1.0 / std::sqrt(static_cast<double>(h));
    const auto bytes = static_cast<std::size_t>(4 * attention_scratch(kLength, h, true) + 63);
    const std::unique_ptr<void, void (*)(void*)> scratch(std::aligned_alloc(64, bytes / 64 * 64),
                                                         std::free);
    t.scratch = static_cast<float*>(scratch.get());
    kernels.attention_forward(t);
    kernels.attention_backward(t);
  }

  /// With P = softmax(scale Q K^T): dS = P (dP - rowsum(dP P)), dP = dO V^T.
  void check(double bound_out, double bound) const {
    const double scale = 1.0 / std::sqrt(static_cast<double>(h));
    const at::Tensor later = at::ones({kLength, kLength}).triu(1).to(at::ScalarType::Bool);
    const at::Tensor scores = q.to(kF64).matmul(k.to(kF64).t()) * scale;
    const at::Tensor p =
        at::softmax(scores.masked_fill(later, -std::numeric_limits<double>::infinity()), 1);
    const at::Tensor dp = dout.to(kF64).matmul(v.to(kF64).t());
    const at::Tensor ds = p * (dp - (dp * p).sum(1, true)) * scale;
    EXPECT_LE(max_difference(out, p.matmul(v.to(kF64))), bound_out);
    EXPECT_LE(max_difference(dv, p.t().matmul(dout.to(kF64))), bound);
    EXPECT_LE(max_difference(dq, ds.matmul(k.to(kF64))), bound);
    EXPECT_LE(max_difference(dk, ds.t().matmul(q.to(kF64))), bound);
  }

  std::int64_t h;
  at::Tensor q, k, v, dout, out, dq, dk, dv, lse;
};

TEST(AttentionKernels, EverySetEqualsFloat64) {
  for (const KernelSet& set : available_kernel_sets()) {
    for (const std::int64_t head_dim : {1, 7, 12, 32, 40}) {
      SCOPED_TRACE(testing::Message() << set.isa << ", heads of " << head_dim);
      OneHead head(head_dim, at::ScalarType::Float);
      head.run(set.f32);
      head.check(2e-6, 1e-5);
      OneHead rounded(head_dim, at::ScalarType::BFloat16);
      rounded.run(set.bf16);
      rounded.check(0.016, 0.06);
    }
  }
}

}  // namespace
}  // namespace growmerge::ops
