#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "core/backend.h"
#include "distributed/cuda/adamw.h"

namespace growmerge {
namespace {

using distributed::AdamWStep;

struct Arrays {
  std::vector<float> param, grad, m, v;
  std::vector<std::uint16_t> copy;
};

Arrays sample(std::size_t n) {
  Arrays a;
  for (std::size_t i = 0; i < n; ++i) {
    const auto x = static_cast<float>(i);
    a.param.push_back(std::sin(x));
    a.grad.push_back(8.0F * std::cos(3.0F * x));
    a.m.push_back(0.01F * std::sin(7.0F * x));
    a.v.push_back(0.02F + 0.01F * std::cos(x));
  }
  a.copy.resize(n);
  return a;
}

AdamWStep hyper_parameters() {
  AdamWStep step;
  step.lr = 1e-3F;
  step.beta1 = 0.9F;
  step.beta2 = 0.95F;
  step.eps = 1e-8F;
  step.weight_decay = 0.1F;
  step.bias_correction1 = 1.0F - std::pow(0.9F, 3.0F);
  step.bias_correction2 = 1.0F - std::pow(0.95F, 3.0F);
  step.grad_scale = 0.25F;
  return step;
}

TEST(AdamWHost, EqualsTheFormulaInDouble) {
  const Arrays before = sample(1003);
  Arrays a = before;
  AdamWStep step = hyper_parameters();
  step.param = a.param.data();
  step.grad = a.grad.data();
  step.m = a.m.data();
  step.v = a.v.data();
  step.bf16_copy = a.copy.data();
  step.n = 1003;
  distributed::adamw_step_host(step);
  for (std::size_t i = 0; i < 1003; ++i) {
    const double g = before.grad[i] * 0.25;
    const double m = 0.9 * before.m[i] + 0.1 * g;
    const double v = 0.95 * before.v[i] + 0.05 * g * g;
    const double expected =
        before.param[i] -
        1e-3 * (0.1 * before.param[i] +
                m / (1 - std::pow(0.9, 3)) / (std::sqrt(v / (1 - std::pow(0.95, 3))) + 1e-8));
    EXPECT_NEAR(a.param[i], expected, 2e-7) << i;
    EXPECT_NEAR(a.m[i], m, 2e-7);
    EXPECT_NEAR(a.v[i], v, 1e-6);
    const at::Tensor rounded = at::full({1}, a.param[i]).to(at::kBFloat16);
    EXPECT_EQ(a.copy[i], *static_cast<const std::uint16_t*>(rounded.data_ptr()));
  }
}

TEST(CudaBackend, IsNothingWhereThereIsNoLibrary) {
  if (dlopen("libcuda.so.1", RTLD_NOW) != nullptr) {
    GTEST_SKIP() << "needs a machine without an NVIDIA driver";
  }
  EXPECT_EQ(open_cuda_backend(""), nullptr);
  EXPECT_EQ(open_cuda_backend("/no/such/library.so"), nullptr);
}

class OnDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    backend_ = open_cuda_backend(GROWMERGE_CUDA_LIBRARY);
    if (backend_ == nullptr) {
      GTEST_SKIP() << "needs a CUDA device";
    }
  }
  const CudaBackend* backend_ = nullptr;
};

TEST_F(OnDevice, AdamWEqualsItsHostTwin) {
  for (const std::size_t n : {1UL, 1003UL, 1UL << 20}) {
    Arrays a = sample(n);
    const auto size = static_cast<std::int64_t>(n);
    const auto to_device = [&](std::vector<float>& host) {
      return at::from_blob(host.data(), {size}, at::kFloat).to(at::kCUDA);
    };
    const at::Tensor param = to_device(a.param);
    const at::Tensor grad = to_device(a.grad);
    const at::Tensor m = to_device(a.m);
    const at::Tensor v = to_device(a.v);
    const at::Tensor copy =
        at::zeros({size}, at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA));
    AdamWStep s = hyper_parameters();
    backend_->adamw_step(param.data_ptr<float>(), grad.data_ptr<float>(), m.data_ptr<float>(),
                         v.data_ptr<float>(), copy.data_ptr(), size, s.lr, s.beta1, s.beta2, s.eps,
                         s.weight_decay, s.bias_correction1, s.bias_correction2, s.grad_scale,
                         nullptr);
    s.param = a.param.data();
    s.grad = a.grad.data();
    s.m = a.m.data();
    s.v = a.v.data();
    s.bf16_copy = a.copy.data();
    s.n = size;
    distributed::adamw_step_host(s);
    const at::Tensor expected = at::from_blob(a.param.data(), {size}, at::kFloat);
    EXPECT_TRUE(param.cpu().allclose(expected, 1e-6, 1e-7)) << n;
    EXPECT_TRUE(copy.cpu().equal(param.cpu().to(at::kBFloat16)));
  }
}

TEST_F(OnDevice, NcclAmongOneRankIsTheIdentity) {
  ASSERT_NE(backend_->make_nccl_communicator, nullptr) << backend_->description;
  const auto bootstrap = make_single_process_communicator();
  const auto nccl = backend_->make_nccl_communicator(*bootstrap, 0);
  const auto cuda = at::TensorOptions().device(at::kCUDA);
  const at::Tensor x = at::arange(1000, cuda.dtype(at::kFloat));
  const at::Tensor before = x.clone();
  nccl->all_reduce(x, ReduceOp::kSum);
  nccl->barrier();
  EXPECT_TRUE(x.equal(before));
  for (const at::ScalarType dtype : {at::kDouble, at::kLong, at::kBFloat16}) {
    const at::Tensor y = at::arange(64, cuda.dtype(dtype));
    const at::Tensor part = at::zeros({64}, cuda.dtype(dtype));
    nccl->broadcast(y, 0);
    nccl->reduce_scatter(y, part, ReduceOp::kSum);
    EXPECT_TRUE(part.equal(y)) << c10::toString(dtype);
  }
  // What ranks agree on lies in host memory.
  const at::Tensor host = at::arange(5, at::kDouble);
  nccl->all_reduce(host, ReduceOp::kSum);
  EXPECT_EQ(host[4].item<double>(), 4.0);
  EXPECT_NO_THROW(run_agreed(*nccl, [] {}));
  at::Tensor all = at::zeros({1000}, cuda.dtype(at::kFloat));
  nccl->all_gather(x, all);
  nccl->barrier();
  EXPECT_TRUE(all.equal(before));
}

// The library itself is checked everywhere it was built: it opens, answers, and has NCCL.
TEST(CudaLibrary, OpensWithoutADriver) {
  if (!std::filesystem::exists(GROWMERGE_CUDA_LIBRARY)) {
    GTEST_SKIP() << "needs nvcc when building";
  }
  void* handle = dlopen(GROWMERGE_CUDA_LIBRARY, RTLD_NOW | RTLD_GLOBAL);
  ASSERT_NE(handle, nullptr) << dlerror();
  const auto entry =
      reinterpret_cast<const CudaBackend* (*)()>(dlsym(handle, "growmerge_cuda_backend"));
  ASSERT_NE(entry, nullptr);
  const CudaBackend* backend = entry();
  EXPECT_EQ(backend->version, CudaBackend::kVersion);
  EXPECT_GE(backend->num_devices, 0);
  EXPECT_NE(backend->adamw_step, nullptr);
  EXPECT_NE(backend->description.find("NCCL"), std::string::npos) << backend->description;
}

}  // namespace
}  // namespace growmerge
