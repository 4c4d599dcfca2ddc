// Our own products of matrices against float64, in every instruction set that has them.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "core/ops/dispatch.h"
#include "core/ops/kernel_set.h"
#include "core/ops/linear.h"

namespace growmerge::ops {
namespace {

constexpr at::ScalarType kF64 = at::ScalarType::Double;

struct Shape {
  std::int64_t m, n, k;
};
// Whole blocks, remainders of each kind, one row, one column, more than one block of K and of B.
const Shape kShapes[] = {{8, 32, 16},    {1, 1, 1},     {13, 45, 7},    {33, 17, 20},
                         {5, 64, 161},   {40, 31, 513}, {16, 300, 600}, {70, 40, 2100},
                         {70, 700, 400}, {9, 33, 1601}};

template <class T>
class Product {
 public:
  /// A is transposed in memory where `a_by_columns`, B where `b_by_columns`.
  Product(const Shape& s, bool a_by_columns, bool b_by_columns, at::ScalarType dtype)
      : a(values({s.m, s.k}, a_by_columns, dtype)), b(values({s.k, s.n}, b_by_columns, dtype)) {
    task.m = s.m;
    task.n = s.n;
    task.k = s.k;
    task.a = const_data<T>(a);
    task.a_row = a.stride(0);
    task.a_col = a.stride(1);
    task.b = const_data<T>(b);
    task.b_row = b.stride(0);
    task.b_col = b.stride(1);
    task.c_row = s.n;
    const auto bytes = static_cast<std::size_t>(gemm_scratch_bytes(s.k, true) + 63) / 64 * 64;
    memory = {std::aligned_alloc(64, bytes), std::free};
    task.scratch = memory.get();
  }

  static at::Tensor values(std::vector<std::int64_t> sizes, bool by_columns, at::ScalarType dtype) {
    if (by_columns) {
      return at::randn({sizes[1], sizes[0]}, kF64).to(dtype).t();
    }
    return at::randn(sizes, kF64).to(dtype);
  }

  at::Tensor a, b;
  GemmTask<T> task;
  std::unique_ptr<void, void (*)(void*)> memory{nullptr, std::free};
};

double max_difference(const at::Tensor& x, const at::Tensor& y) {
  return (x.to(kF64) - y.to(kF64)).abs().max().item<double>();
}

template <class T>
void check(const KernelSet& set, const Kernels<T>& kernels, at::ScalarType dtype) {
  for (const Shape& s : kShapes) {
    for (const int layout : {0, 1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << set.isa << " " << c10::toString(dtype) << " " << s.m << "x"
                                      << s.n << "x" << s.k << " layout " << layout);
      Product<T> p(s, (layout & 1) != 0, (layout & 2) != 0, dtype);
      const at::Tensor exact = p.a.to(kF64).matmul(p.b.to(kF64));
      const at::Tensor& a = p.a;
      const at::Tensor& b = p.b;
      // Rounding of K additions; the operands themselves are exact.
      const double bound =
          3e-7 * a.to(kF64).abs().matmul(b.to(kF64).abs()).max().item<double>() + 1e-6;
      const at::Tensor sum = at::randn({s.m, s.n});
      const at::Tensor before = sum.clone();
      p.task.sum = data<float>(sum);
      kernels.gemm(p.task);
      EXPECT_LE(max_difference(sum, exact), bound);
      const at::Tensor scale = at::rand({s.m});
      sum.copy_(before);
      p.task.accumulate = true;
      p.task.row_scale = const_data<float>(scale);
      kernels.gemm(p.task);
      EXPECT_LE(max_difference(sum, before.to(kF64) + exact * scale.to(kF64).unsqueeze(1)), bound);
      p.task.row_scale = nullptr;
      if (p.task.b_col == 1) {
        const at::Tensor b_scale = at::rand({s.k});
        const at::Tensor scaled = (b.to(at::ScalarType::Float) * b_scale.unsqueeze(1)).to(dtype);
        sum.copy_(before);
        p.task.b_row_scale = const_data<float>(b_scale);
        kernels.gemm(p.task);
        p.task.b_row_scale = nullptr;
        EXPECT_LE(max_difference(sum, before.to(kF64) + a.to(kF64).matmul(scaled.to(kF64))), bound);
      }

      const at::Tensor c = at::randn({s.m, s.n}).to(dtype);
      const at::Tensor c_before = c.clone();
      p.task.sum = nullptr;
      p.task.c = data<T>(c);
      p.task.accumulate = false;
      kernels.gemm(p.task);
      const double rounding = dtype == at::ScalarType::Float ? 0.0 : 1.0 / 256;
      EXPECT_LE(max_difference(c, exact), bound + rounding * exact.abs().max().item<double>());
      c.copy_(c_before);
      p.task.accumulate = true;
      kernels.gemm(p.task);
      const at::Tensor added = c_before.to(kF64) + exact;
      EXPECT_LE(max_difference(c, added), bound + rounding * added.abs().max().item<double>());
    }
  }
}

TEST(Gemm, EqualsFloat64) {
  for (const KernelSet& set : available_kernel_sets()) {
    ASSERT_NE(set.f32.gemm, nullptr) << set.isa;
    check(set, set.f32, at::ScalarType::Float);
    if (set.bf16.gemm != nullptr) {
      check(set, set.bf16, at::ScalarType::BFloat16);
    }
  }
}

// A result that does not depend on how a product is cut into rows: what makes scores of a batch
// those of its items.
TEST(Gemm, RowsDoNotDependOnEachOther) {
  for (const KernelSet& set : available_kernel_sets()) {
    Product<float> p({21, 90, 700}, false, true, at::ScalarType::Float);
    const at::Tensor together = at::empty({21, 90});
    p.task.c = data<float>(together);
    set.f32.gemm(p.task);
    const at::Tensor alone = at::empty({21, 90});
    p.task.m = 1;
    for (std::int64_t i = 0; i < 21; ++i) {
      p.task.a = const_data<float>(p.a) + i * p.task.a_row;
      p.task.c = data<float>(alone) + i * 90;
      set.f32.gemm(p.task);
    }
    EXPECT_TRUE(at::equal(alone, together)) << set.isa;
  }
}

TEST(Linear, ThreadsDoNotChangeBits) {
  if (!prefers_own_products(at::ScalarType::Float)) {
    GTEST_SKIP() << "products are the library's on this processor";
  }
  const int threads = at::get_num_threads();
  const at::Tensor x = at::randn({257, 96});
  const at::Tensor weight = at::randn({1100, 96});
  const at::Tensor dy = at::randn({257, 1100});
  std::vector<at::Tensor> results;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    results.push_back(at::empty({257, 1100}));
    linear_forward(x, weight, results.back());
    results.push_back(at::empty({257, 96}));
    linear_backward_input(dy, weight, results.back());
    results.push_back(at::zeros_like(weight));
    linear_backward_weight(dy, x, results.back());
  }
  at::set_num_threads(threads);
  for (std::size_t i = 3; i < results.size(); ++i) {
    EXPECT_TRUE(at::equal(results[i], results[i % 3])) << "result " << i;
  }
}

TEST(Linear, NoRowsLeaveAGradientAsItIs) {
  const at::Tensor gradient = at::ones({32, 16});
  linear_backward_weight(at::empty({0, 32}), at::empty({0, 16}), gradient);
  EXPECT_TRUE(at::equal(gradient, at::ones({32, 16})));
}

}  // namespace
}  // namespace growmerge::ops
