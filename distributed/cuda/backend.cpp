// The one symbol of libgrowmerge_cuda.so that core/transformer/backend.cpp asks for.
#include "core/transformer/backend.h"

#include <cuda_runtime.h>

#include <string>

#include "core/base/error.h"
#include "core/ops/cuda/table.h"
#include "distributed/cuda/graph.h"
#ifdef GROWMERGE_HAVE_NCCL
#include "distributed/cuda/nccl_communicator.h"
#endif

namespace growmerge::distributed {
namespace {

CudaBackend describe() {
  CudaBackend backend;
  backend.version = CudaBackend::kVersion;
  // No driver answers error 35 (insufficient driver): zero devices.
  if (cudaGetDeviceCount(&backend.num_devices) != cudaSuccess) {
    backend.num_devices = 0;
    static_cast<void>(cudaGetLastError());
  }
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  backend.description = concat("CUDA ", runtime / 1000, ".", runtime % 1000 / 10);
#ifdef GROWMERGE_HAVE_NCCL
  backend.description += ", NCCL " + nccl_version();
  backend.make_nccl_communicator = make_nccl_communicator;
#else
  backend.description += ", built without NCCL (no nccl.h was found)";
#endif
  for (int i = 0; i < backend.num_devices; ++i) {
    cudaDeviceProp properties;
    const bool known = cudaGetDeviceProperties(&properties, i) == cudaSuccess;
    backend.device_names.emplace_back(known ? properties.name : "unknown");
    backend.description += concat(", device ", i, ": ", backend.device_names.back());
  }
  backend.record_graph = record_graph;
  backend.ops = ops::cuda::make_cuda_ops();
  return backend;
}

}  // namespace
}  // namespace growmerge::distributed

extern "C" __attribute__((visibility("default"))) const growmerge::CudaBackend*
growmerge_cuda_backend() {
  static const growmerge::CudaBackend backend = growmerge::distributed::describe();
  return &backend;
}
