// What only the back end itself can show: products by cuBLASLt, the operators' dispatch, and their
// capture into a CUDA graph. The operators' parity with the CPU stands in *_parity.cpp.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <dlfcn.h>

#include <array>
#include <cstring>
#include <string>

#include "core/base/error.h"
#include "core/ops/dispatch.h"
#include "core/transformer/backend.h"
#include "tests/core/ops/cuda/device_under_test.h"

namespace growmerge::ops::cuda {
namespace {

at::Tensor random(std::vector<std::int64_t> sizes, at::ScalarType dtype) {
  return at::randn(sizes, at::kDouble).to(dtype);
}

/// Rounding of a product's inputs is not at stake: both sides read the same ones.
double product_bound(at::ScalarType dtype) {
  return dtype == at::kDouble ? 1e-12 : dtype == at::kFloat ? 1e-5 : 1e-2;
}

TEST_F(CudaOpsTest, Products) {
  struct Size {
    std::int64_t n, in, out;
  };
  for (const Precision& precision : kPrecisions) {
    const at::ScalarType dtype = precision.dtype;
    const double rtol = product_bound(dtype);
    for (const auto& [n, in, out] :
         {Size{1, 64, 32}, {64, 128, 256}, {33, 40, 24}, {17, 37, 5}, {300, 512, 1000}}) {
      const std::string what =
          concat(n, " rows from ", in, " to ", out, " in ", c10::toString(dtype));
      const at::Tensor x = random({n, in}, dtype);
      const at::Tensor weight = random({out, in}, dtype);
      const at::Tensor dy = random({n, out}, dtype);
      const at::Tensor y = random({n, out}, dtype);
      const at::Tensor dx = random({n, in}, dtype);
      const at::Tensor dweight = random({out, in}, acc_dtype(dtype));
      for (const double beta : {0.0, 1.0}) {
        const auto got = outputs([&] {
          const at::Tensor own_y = there(y);
          const at::Tensor own_dx = there(dx);
          const at::Tensor own_dweight = there(dweight);
          twin().linear_forward(there(x), there(weight), own_y, beta);
          twin().linear_backward_input(there(dy), there(weight), own_dx, beta);
          twin().linear_backward_weight(there(dy), there(x), own_dweight);
          return std::vector{own_y, own_dx, own_dweight};
        });
        const auto exact = [](const at::Tensor& t) { return t.to(at::kDouble); };
        expect_close(got[0], beta * exact(y) + exact(x).mm(exact(weight).t()), rtol, "y, " + what);
        expect_close(got[1], beta * exact(dx) + exact(dy).mm(exact(weight)), rtol, "dx, " + what);
        // Never rounded to bfloat16.
        expect_close(got[2], exact(dweight) + exact(dy).t().mm(exact(x)),
                     dtype == at::kDouble ? 1e-12 : 1e-5, "dweight, " + what);
      }
    }
  }
}

TEST_F(CudaOpsTest, ProductsOfParts) {
  // Rows of a larger matrix, and an address that no 16-byte access reaches.
  const at::Tensor weight = random({70, 24}, at::kFloat);
  const at::Tensor x = random({9, 24}, at::kFloat);
  const auto got = outputs([&] {
    const at::Tensor y = there(at::zeros({9, 31}, at::kFloat));
    twin().linear_forward(there(x), there(weight).narrow(0, 3, 31), y, 0.0);
    const at::Tensor flat = there(at::zeros({9 * 31 + 1}, at::kFloat)).narrow(0, 1, 9 * 31);
    twin().linear_forward(there(x), there(weight).narrow(0, 3, 31), flat.view({9, 31}), 0.0);
    return std::vector{y, flat.view({9, 31}).clone()};
  });
  const at::Tensor expected = x.mm(weight.narrow(0, 3, 31).t());
  expect_close(got[0], expected, 1e-5, "y");
  expect_close(got[1], expected, 1e-5, "y at an odd address");
  EXPECT_THROW(twin().linear_forward(there(x), there(weight), there(x), 0.0), Error);
}

TEST_F(CudaOpsTest, CudaTensorsReachTheirTwin) {
  const at::Tensor x = random({3, 16}, at::kFloat);
  const at::Tensor gain = random({16}, at::kFloat);
  const at::Tensor y = at::zeros({3, 16}, at::kFloat);
  const at::Tensor rstd = at::zeros({3}, at::kFloat);
  const at::Tensor own_y = there(y);
  add_rms_norm(there(x), at::Tensor(), there(gain), 1e-5, at::Tensor(), own_y, there(rstd));
  add_rms_norm(x, at::Tensor(), gain, 1e-5, at::Tensor(), y, rstd);
  expect_close(own_y.cpu(), y, 1e-5, "y");
}

/// Needs no device: the library opens and answers without one.
TEST(CudaLibrary, FillsEveryEntryOfTheTable) {
  void* handle = dlopen(GROWMERGE_CUDA_LIBRARY, RTLD_NOW | RTLD_GLOBAL);
  ASSERT_NE(handle, nullptr) << dlerror();
  const auto entry =
      reinterpret_cast<const CudaBackend* (*)()>(dlsym(handle, "growmerge_cuda_backend"));
  ASSERT_NE(entry, nullptr);
  std::array<void*, sizeof(CudaOps) / sizeof(void*)> entries{};
  std::memcpy(entries.data(), &entry()->ops, sizeof(CudaOps));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_NE(entries[i], nullptr) << "entry " << i;
  }
}

TEST_F(CudaOpsTest, ProductAndNormInAGraph) {
  const CudaBackend* backend = open_cuda_backend(GROWMERGE_CUDA_LIBRARY);
  ASSERT_NE(backend, nullptr);
  const at::Tensor x = there(random({40, 64}, at::kBFloat16));
  const at::Tensor weight = there(random({96, 64}, at::kBFloat16));
  const at::Tensor gain = there(random({96}, at::kBFloat16));
  const at::Tensor product = there(at::zeros({40, 96}, at::kBFloat16));
  const at::Tensor y = there(at::zeros({40, 96}, at::kBFloat16));
  const at::Tensor rstd = there(at::zeros({40}, at::kFloat));
  const auto work = [&] {
    linear_forward(x, weight, product);
    add_rms_norm(product, at::Tensor(), gain, 1e-5, at::Tensor(), y, rstd);
  };
  work();  // handles and workspaces are there before a graph is recorded
  const auto graph = backend->record_graph(work);
  for (int i = 0; i < 2; ++i) {
    x.copy_(there(random({40, 64}, at::kBFloat16)));
    graph->replay();
    const at::Tensor replayed = y.cpu();
    y.zero_();
    work();
    expect_same(replayed, y.cpu(), "the replayed norm");
  }
}

}  // namespace
}  // namespace growmerge::ops::cuda
