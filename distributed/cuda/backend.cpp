// The one symbol of libgrowmerge_cuda.so that core/backend.cpp asks for.
#include "core/backend.h"

#include <cuda_runtime.h>

#include <string>

#include "core/error.h"
#include "distributed/cuda/adamw.h"
#ifdef GROWMERGE_HAVE_NCCL
#include "distributed/cuda/nccl_communicator.h"
#endif

namespace growmerge::distributed {
namespace {

void adamw_step(float* param, const float* grad, float* m, float* v, void* bf16_copy, long n,
                float lr, float beta1, float beta2, float eps, float weight_decay,
                float bias_correction1, float bias_correction2, float grad_scale, void* stream) {
  adamw_step_cuda({.param = param,
                   .grad = grad,
                   .m = m,
                   .v = v,
                   .bf16_copy = bf16_copy,
                   .n = n,
                   .lr = lr,
                   .beta1 = beta1,
                   .beta2 = beta2,
                   .eps = eps,
                   .weight_decay = weight_decay,
                   .bias_correction1 = bias_correction1,
                   .bias_correction2 = bias_correction2,
                   .grad_scale = grad_scale},
                  stream);
}

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
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) {
      backend.description += concat(", device ", i, ": ", properties.name);
    }
  }
  backend.adamw_step = adamw_step;
  return backend;
}

}  // namespace
}  // namespace growmerge::distributed

extern "C" __attribute__((visibility("default"))) const growmerge::CudaBackend*
growmerge_cuda_backend() {
  static const growmerge::CudaBackend backend = growmerge::distributed::describe();
  return &backend;
}
