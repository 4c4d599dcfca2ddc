#include "core/transformer/backend.h"

#include <dlfcn.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/base/log.h"

namespace growmerge {
namespace {

constexpr const char* kLibrary = "libgrowmerge_cuda.so";

/// Beside the executable, or in ../lib of an installed one.
std::string default_path() {
  std::error_code failed;
  const std::filesystem::path exe = std::filesystem::read_symlink("/proc/self/exe", failed);
  for (const char* folder : {".", "../lib"}) {
    const std::filesystem::path candidate = exe.parent_path() / folder / kLibrary;
    if (std::filesystem::exists(candidate, failed)) {
      return candidate.lexically_normal().string();
    }
  }
  return {};
}

// The one that was opened: it stays open for the life of the process.
const CudaBackend* opened = nullptr;
std::string why_none = "nobody has looked for one";

const CudaBackend* none(const std::string& why) {
  log_debug("no CUDA: " + why);
  why_none = why;
  return nullptr;
}

}  // namespace

const CudaBackend* open_cuda_backend(const std::string& path) {
  // The driver first: without one, half a gigabyte of CUDA is not even mapped.
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    return none("this machine has no NVIDIA driver (libcuda.so.1)");
  }
  const std::string library = path.empty() ? default_path() : path;
  if (library.empty()) {
    return none(concat(kLibrary, " does not stand beside the program: it was built without nvcc"));
  }
  // Stays open for the life of the process: LibTorch's hooks cannot be taken back. RTLD_GLOBAL,
  // because libtorch_cuda registers itself with the libtorch_cpu that is there already.
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) {
    return none(dlerror());
  }
  using Entry = const CudaBackend* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, "growmerge_cuda_backend"));
  GM_CHECK(entry != nullptr, kMismatch, library, ": not a CUDA back end of growmerge");
  const CudaBackend* backend = entry();
  GM_CHECK(backend->version == CudaBackend::kVersion, kMismatch, library, ": has version ",
           backend->version, ", this program needs ", CudaBackend::kVersion,
           "; build both from the same sources");
  if (backend->num_devices <= 0) {
    return none("the driver shows no device");
  }
  opened = backend;
  return backend;
}

const CudaBackend* opened_cuda_backend() { return opened; }

const std::string& why_no_cuda() { return why_none; }

const CudaOps& cuda_ops() {
  GM_CHECK(opened != nullptr, kUnsupported,
           "operators on CUDA tensors: no CUDA back end is open; build where nvcc is found, keep ",
           kLibrary, " beside the program, and run where there is an NVIDIA driver and device");
  return opened->ops;
}

}  // namespace growmerge
