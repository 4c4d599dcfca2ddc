#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/transformer/backend.h"

namespace growmerge {
namespace {

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
  EXPECT_NE(backend->description.find("NCCL"), std::string::npos) << backend->description;
}

}  // namespace
}  // namespace growmerge
