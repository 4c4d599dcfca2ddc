// The CUDA back end, opened at run time: libgrowmerge_cuda.so holds the CUDA kernels, the NCCL
// communicator and the link to libtorch_cuda. The program itself links libtorch_cpu alone and runs
// everywhere.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/ops/cuda_ops.h"

namespace growmerge {

/// Work that was recorded on a stream and is started again as a whole.
class DeviceGraph {
 public:
  virtual ~DeviceGraph() = default;
  /// Queues the work on the current stream.
  virtual void replay() = 0;
};

/// What libgrowmerge_cuda.so hands back. A version mismatch between program and library is refused.
struct CudaBackend {
  /// Goes up with every change of this struct or of CudaOps.
  static constexpr int kVersion = 3;
  int version = 0;
  int num_devices = 0;
  std::string description;                // device names, CUDA, NCCL and cuDNN versions
  std::vector<std::string> device_names;  // [num_devices]
  /// NCCL among the ranks of `bootstrap`, whose broadcast carries the unique id. Takes CUDA tensors
  /// only.
  std::unique_ptr<Communicator> (*make_nccl_communicator)(Communicator& bootstrap,
                                                          int device) = nullptr;
  /// Records what `work` queues on the current device, without doing it. Memory that it takes from
  /// LibTorch's allocator stays the graph's. Errors: what `work` throws; c10::Error where it does
  /// what cannot be recorded, such as waiting for the device.
  std::unique_ptr<DeviceGraph> (*record_graph)(const std::function<void()>& work) = nullptr;
  CudaOps ops;
};

/// Opens libgrowmerge_cuda.so beside the executable (or `path`) when a driver and a device are
/// there; to be called before the first tensor. Returns nullptr, and says why at debug level, where
/// there is none. What it opened is what cuda_ops() answers from then on.
[[nodiscard]] const CudaBackend* open_cuda_backend(const std::string& path);
/// What open_cuda_backend() opened last; nullptr where nothing is open.
[[nodiscard]] const CudaBackend* opened_cuda_backend();
/// Why open_cuda_backend() opened nothing, for an error message.
[[nodiscard]] const std::string& why_no_cuda();

}  // namespace growmerge
