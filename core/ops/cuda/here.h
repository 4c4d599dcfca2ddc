// Where an operator's work goes: its tensors' device, and the stream that is current there. Under
// GM_CUDA_EMULATION (tests/core/ops/cuda/emulation.h) that is the CPU, and there is no stream.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/ops/cuda/kernels.h"

#ifndef GM_CUDA_EMULATION
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace growmerge::ops::cuda {

#ifdef GM_CUDA_EMULATION

class Here {
 public:
  explicit Here(const at::Tensor& /*tensor*/) {}
  [[nodiscard]] Stream stream() const { return nullptr; }
};

#else

/// Makes the tensor's device current for its lifetime.
class Here {
 public:
  explicit Here(const at::Tensor& tensor) : guard_(tensor.device()) {}
  [[nodiscard]] cudaStream_t stream() const {
    return c10::cuda::getCurrentCUDAStream(guard_.current_device().index()).stream();
  }

 private:
  c10::cuda::CUDAGuard guard_;
};

#endif

}  // namespace growmerge::ops::cuda
