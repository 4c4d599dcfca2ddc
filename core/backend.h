// The CUDA back end, opened at run time: libgrowmerge_cuda.so holds the CUDA kernels, the NCCL
// communicator and the link to libtorch_cuda. The program itself links libtorch_cpu alone and runs
// everywhere.
#pragma once

#include <memory>
#include <string>

#include "core/communicator.h"

namespace growmerge {

/// What libgrowmerge_cuda.so hands back. A version mismatch between program and library is refused.
struct CudaBackend {
  static constexpr int kVersion = 1;
  int version = 0;
  int num_devices = 0;
  std::string description;  // device names, CUDA, NCCL and cuDNN versions
  /// NCCL among the ranks of `bootstrap`, whose broadcast carries the unique id. Takes CUDA tensors
  /// only.
  std::unique_ptr<Communicator> (*make_nccl_communicator)(Communicator& bootstrap,
                                                          int device) = nullptr;
  /// One fused AdamW step on CUDA float32 tensors (see core/adamw.h); bf16_copy may be null.
  void (*adamw_step)(float* param, const float* grad, float* m, float* v, void* bf16_copy, long n,
                     float lr, float beta1, float beta2, float eps, float weight_decay,
                     float bias_correction1, float bias_correction2, float grad_scale,
                     void* stream) = nullptr;
};

/// Opens libgrowmerge_cuda.so beside the executable (or `path`) when a driver and a device are
/// there; to be called before the first tensor. Returns nullptr, and says why at debug level, where
/// there is none.
[[nodiscard]] const CudaBackend* open_cuda_backend(const std::string& path);

}  // namespace growmerge
