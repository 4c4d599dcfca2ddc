// Where a rank trains: on the CPU, or on a CUDA device of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "core/contracts/communicator.h"
#include "core/transformer/backend.h"

namespace growmerge::distributed {

struct Placement {
  at::Device device = at::Device(at::kCPU);
  std::string name = "CPU";  // as the driver calls the device
};

/// What `wanted` ("auto", "cpu" or "cuda") means on these ranks, the same kind on all of them: auto
/// takes CUDA where every rank has a back end. A rank takes device number local_rank, and makes it
/// the current one. Collective.
/// Errors, on every rank: kInvalidArgument (cuda is wanted and something is missing, by name; more
/// ranks on a machine than it shows devices), kUnsupported (several ranks and a back end without
/// NCCL).
[[nodiscard]] Placement place_rank(const std::string& wanted, const CudaBackend* backend,
                                   Communicator& comm);

/// The ranks of `comm`, whose CUDA tensors go over NCCL; nothing where `comm` itself will do: on
/// the CPU, and for one rank. Collective; `comm` must outlive it.
[[nodiscard]] std::unique_ptr<Communicator> make_device_communicator(const Placement& place,
                                                                     const CudaBackend* backend,
                                                                     Communicator& comm);

/// Dense bfloat16 peak of a device by the driver's name for it, in TFLOP/s, from NVIDIA's data
/// sheets; 0 for one that is not in the list.
[[nodiscard]] double peak_bfloat16_tflops(const std::string& device_name);

/// Bytes that a CUDA device has free.
[[nodiscard]] double available_device_memory(at::Device device);

}  // namespace growmerge::distributed
