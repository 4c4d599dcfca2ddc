// The CUDA back end, opened at run time: libgrowmerge_cuda.so holds the CUDA kernels, the NCCL
// communicator and the link to libtorch_cuda. The program itself links libtorch_cpu alone and runs
// everywhere.
#pragma once

#include <memory>
#include <string>

#include "core/communicator.h"
#include "core/ops/cuda_ops.h"

namespace growmerge {

/// What libgrowmerge_cuda.so hands back. A version mismatch between program and library is refused.
struct CudaBackend {
  static constexpr int kVersion = 2;
  int version = 0;
  int num_devices = 0;
  std::string description;  // device names, CUDA, NCCL and cuDNN versions
  /// NCCL among the ranks of `bootstrap`, whose broadcast carries the unique id. Takes CUDA tensors
  /// only.
  std::unique_ptr<Communicator> (*make_nccl_communicator)(Communicator& bootstrap,
                                                          int device) = nullptr;
  CudaOps ops;
};

/// Opens libgrowmerge_cuda.so beside the executable (or `path`) when a driver and a device are
/// there; to be called before the first tensor. Returns nullptr, and says why at debug level, where
/// there is none. What it opened is what cuda_ops() answers from then on.
[[nodiscard]] const CudaBackend* open_cuda_backend(const std::string& path);

}  // namespace growmerge
