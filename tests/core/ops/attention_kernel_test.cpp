// Attention's inner loops in every instruction set, against float64.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
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
    t.window = window;
    t.soft_cap = soft_cap;
    const auto bytes = static_cast<std::size_t>(4 * attention_scratch(kLength, h, true) + 63);
    const std::unique_ptr<void, void (*)(void*)> scratch(std::aligned_alloc(64, bytes / 64 * 64),
                                                         std::free);
    t.scratch = static_cast<float*>(scratch.get());
    kernels.attention_forward(t);
    kernels.attention_backward(t);
  }

  /// With P = softmax(S), S = scale Q K^T or its cap c tanh(S / c): dS = P (dP - rowsum(dP P))
  /// times the cap's slope, dP = dO V^T.
  void check(double bound_out, double bound) const {
    const double scale = 1.0 / std::sqrt(static_cast<double>(h));
    at::Tensor hidden = at::ones({kLength, kLength}).triu(1);
    if (window > 0) {
      hidden = hidden + at::ones({kLength, kLength}).tril(-window);
    }
    at::Tensor scores = q.to(kF64).matmul(k.to(kF64).t()) * scale;
    at::Tensor slope = at::ones_like(scores);
    if (soft_cap > 0.0) {
      const at::Tensor t = (scores / soft_cap).tanh();
      slope = 1.0 - t * t;
      scores = t * soft_cap;
    }
    const at::Tensor p = at::softmax(scores.masked_fill(hidden.to(at::ScalarType::Bool),
                                                        -std::numeric_limits<double>::infinity()),
                                     1);
    const at::Tensor dp = dout.to(kF64).matmul(v.to(kF64).t());
    const at::Tensor ds = p * (dp - (dp * p).sum(1, true)) * scale * slope;
    EXPECT_LE(max_difference(out, p.matmul(v.to(kF64))), bound_out);
    EXPECT_LE(max_difference(dv, p.t().matmul(dout.to(kF64))), bound);
    EXPECT_LE(max_difference(dq, ds.matmul(k.to(kF64))), bound);
    EXPECT_LE(max_difference(dk, ds.t().matmul(q.to(kF64))), bound);
  }

  std::int64_t h;
  std::int64_t window = 0;
  double soft_cap = 0.0;
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

struct Variant {
  std::int64_t window;
  double soft_cap;
};

// Windows inside one block of keys, across several, of one key and longer than the text.
TEST(AttentionKernels, WindowsAndCapsEqualFloat64) {
  for (const KernelSet& set : available_kernel_sets()) {
    for (const auto [window, soft_cap] : {Variant{1, 0.0}, Variant{5, 0.0}, Variant{64, 0.0},
                                          Variant{70, 1.5}, Variant{500, 0.3}, Variant{0, 2.0}}) {
      for (const std::int64_t head_dim : {7, 32}) {
        SCOPED_TRACE(testing::Message() << set.isa << ", heads of " << head_dim << ", window "
                                        << window << ", cap " << soft_cap);
        OneHead head(head_dim, at::ScalarType::Float);
        head.window = window;
        head.soft_cap = soft_cap;
        head.run(set.f32);
        head.check(2e-6, 1e-5);
        OneHead rounded(head_dim, at::ScalarType::BFloat16);
        rounded.window = window;
        rounded.soft_cap = soft_cap;
        rounded.run(set.bf16);
        rounded.check(0.03, 0.12);
      }
    }
  }
}

}  // namespace
}  // namespace growmerge::ops
