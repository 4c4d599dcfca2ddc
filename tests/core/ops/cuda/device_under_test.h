// Where the parity tests run: on a CUDA device through libgrowmerge_cuda.so, or on the CPU, where
// the same kernels and the code around them are compiled for the emulation. One of
// emulated_device.cpp and cuda_device.cpp is linked.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/ops/cuda_ops.h"

namespace growmerge::ops::cuda {

struct DeviceUnderTest {
  const CudaOps* ops = nullptr;  // null: `missing` says what is not there
  std::string missing;
  at::Device device = at::kCPU;
  /// Turns round the order in which emulated threads run; does nothing on a device.
  void (*reverse_order)(bool reversed) = nullptr;
};

const DeviceUnderTest& device_under_test();

class CudaOpsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (device_under_test().ops == nullptr) {
      GTEST_SKIP() << "needs " << device_under_test().missing;
    }
  }
  static const CudaOps& twin() { return *device_under_test().ops; }
  /// A copy on the device. An undefined tensor stays undefined.
  static at::Tensor there(const at::Tensor& x);
  /// What fn() computes on the device, copied back. Runs it twice, the second time with threads in
  /// the opposite order, and expects the same bits.
  static std::vector<at::Tensor> outputs(const std::function<std::vector<at::Tensor>()>& fn);
};

/// Every element within rtol of the expected one, or of rtol / 20 of the largest; NaN is not.
void expect_close(const at::Tensor& actual, const at::Tensor& expected, double rtol,
                  const std::string& what);
/// Bit for bit.
void expect_same(const at::Tensor& actual, const at::Tensor& expected, const std::string& what);

struct Precision {
  at::ScalarType dtype;
  double rtol;
};
/// Both twins sum in float32 (float64) and round once; in bfloat16 they may so differ by one unit
/// of the last place, 2^-7.
inline constexpr Precision kPrecisions[] = {{at::ScalarType::Double, 1e-12},
                                            {at::ScalarType::Float, 5e-6},
                                            {at::ScalarType::BFloat16, 8e-3}};

}  // namespace growmerge::ops::cuda
