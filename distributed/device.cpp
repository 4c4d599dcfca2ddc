#include "distributed/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <string_view>

#include "core/base/error.h"
#include "core/base/log.h"

namespace growmerge::distributed {
namespace {

bool takes_cuda(const std::string& wanted, const CudaBackend* backend, Communicator& comm) {
  const bool here = backend != nullptr && backend->num_devices > 0;
  run_agreed(comm, [&] {
    GM_CHECK(wanted != "cuda" || here, kInvalidArgument, "device: cuda is asked for, but ",
             why_no_cuda(), "; set device: cpu, or start where there is a GPU");
  });
  if (wanted == "cpu") {
    return false;
  }
  // Ranks on different devices could not sum their gradients with each other.
  const bool everywhere = comm.all_ok(here);
  if (!everywhere && comm.all_reduce_scalar(here ? 1.0 : 0.0, ReduceOp::kMax) > 0.5) {
    log_warning("device: auto takes the CPU, because only some ranks have a GPU");
  }
  return everywhere;
}

struct Peak {
  std::string_view name;  // a part of the driver's name
  double tflops;
};

// The more special name first.
constexpr Peak kPeaks[] = {
    {"A100", 312.0}, {"H100 PCIe", 756.0}, {"H100 NVL", 835.0},
    {"H100", 989.0}, {"H200 NVL", 835.0},  {"GH200", 989.0},
    {"H200", 989.0}, {"GB200", 2500.0},    {"B200", 2250.0},
};

}  // namespace

Placement place_rank(const std::string& wanted, const CudaBackend* backend, Communicator& comm) {
  Placement place;
  if (!takes_cuda(wanted, backend, comm)) {
    return place;
  }
  run_agreed(comm, [&] {
    GM_CHECK(comm.local_size() <= backend->num_devices, kInvalidArgument,
             "device: ", comm.local_size(), " ranks on this machine, which shows ",
             backend->num_devices, " CUDA device(s); a rank takes one of its own: start at most ",
             backend->num_devices,
             " rank(s) here (under Slurm ask by --gpus-per-node, because --gpus-per-task hides a "
             "rank's neighbours from it), or set device: cpu");
    GM_CHECK(comm.size() == 1 || backend->make_nccl_communicator != nullptr, kUnsupported,
             "device: the CUDA back end (", backend->description,
             ") cannot join several ranks; build it where nccl.h is found, start one rank, or set "
             "device: cpu");
    // A GPU each, by the rank on the machine. It is made current before anything allocates, or the
    // first GPU would hold a context of every rank.
    const auto index = static_cast<c10::DeviceIndex>(comm.local_rank());
    place.device = at::Device(at::kCUDA, index);
    place.name = backend->device_names[static_cast<std::size_t>(index)];
    c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(place.device);
  });
  return place;
}

std::unique_ptr<Communicator> make_device_communicator(const Placement& place,
                                                       const CudaBackend* backend,
                                                       Communicator& comm) {
  if (place.device.is_cpu() || comm.size() == 1) {
    return nullptr;
  }
  return backend->make_nccl_communicator(comm, place.device.index());
}

double peak_bfloat16_tflops(const std::string& device_name) {
  for (const Peak& peak : kPeaks) {
    // Drivers add makers, memory sizes and form factors around the name.
    if (device_name.find(peak.name) != std::string::npos) {
      return peak.tflops;
    }
  }
  return 0.0;
}

double available_device_memory(at::Device device) {
  return static_cast<double>(
      at::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

}  // namespace growmerge::distributed
