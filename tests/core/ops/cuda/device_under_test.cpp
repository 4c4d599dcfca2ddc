#include "tests/core/ops/cuda/device_under_test.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>

namespace growmerge::ops::cuda {

at::Tensor CudaOpsTest::there(const at::Tensor& x) {
  return x.defined() ? x.clone().to(device_under_test().device) : x;
}

std::vector<at::Tensor> CudaOpsTest::outputs(const std::function<std::vector<at::Tensor>()>& fn) {
  const auto run = [&](bool reversed) {
    device_under_test().reverse_order(reversed);
    std::vector<at::Tensor> out;
    for (const at::Tensor& tensor : fn()) {
      out.push_back(tensor.cpu());
    }
    device_under_test().reverse_order(false);
    return out;
  };
  const std::vector<at::Tensor> first = run(false);
  const std::vector<at::Tensor> second = run(true);
  EXPECT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    expect_same(second[i], first[i], "the second run's output " + std::to_string(i));
  }
  return first;
}

void expect_close(const at::Tensor& actual, const at::Tensor& expected, double rtol,
                  const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  const at::Tensor a = actual.to(at::kDouble);
  const at::Tensor e = expected.to(at::kDouble);
  const double largest = e.abs().max().item<double>();
  // Exponentials that would be subnormal are 0 on the CPU.
  const double nothing = expected.scalar_type() == at::kDouble ? 1e-300 : 1e-30;
  const double worst = ((a - e).abs() / (e.abs() + largest / 20.0 + nothing)).max().item<double>();
  EXPECT_TRUE(worst <= rtol) << what << ": relative error " << worst << ", allowed " << rtol;
}

void expect_same(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  EXPECT_TRUE(at::equal(actual, expected)) << what << " differs in bits";
}

}  // namespace growmerge::ops::cuda
