#include "core/transformer/backend.h"
#include "tests/core/ops/cuda/device_under_test.h"

namespace growmerge::ops::cuda {

const DeviceUnderTest& device_under_test() {
  static const DeviceUnderTest device = [] {
    DeviceUnderTest out;
    out.missing = "a CUDA device";
    out.device = at::Device(at::kCUDA, 0);
    out.reverse_order = [](bool) {};
    if (const CudaBackend* backend = open_cuda_backend(GROWMERGE_CUDA_LIBRARY)) {
      out.ops = &backend->ops;
    }
    return out;
  }();
  return device;
}

}  // namespace growmerge::ops::cuda
