#include "distributed/cuda/nccl_communicator.h"

#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>
#include <nccl.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "core/base/error.h"

namespace growmerge::distributed {
namespace {

void check_nccl(ncclResult_t code, const char* operation) {
  GM_CHECK(code == ncclSuccess, kDistributed, "NCCL ", operation, ": ", ncclGetErrorString(code),
           "; NCCL_DEBUG=INFO tells more");
}

void check_cuda(cudaError_t code, const char* operation) {
  GM_CHECK(code == cudaSuccess, kDistributed, "CUDA ", operation, ": ", cudaGetErrorString(code));
}

/// Also refuses what NCCL would read as other memory than was meant.
ncclDataType_t nccl_type(const at::Tensor& tensor, const char* operation) {
  GM_CHECK(tensor.defined() && tensor.is_cuda() && tensor.is_contiguous(), kUnsupported, operation,
           " over NCCL takes contiguous CUDA tensors; CPU tensors go over MPI");
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kLong:
      return ncclInt64;
    case at::kBFloat16:
      return ncclBfloat16;
    default:
      fail(ErrorCode::kUnsupported, operation,
           " over NCCL takes float32, float64, int64 or bfloat16, got ",
           at::toString(tensor.scalar_type()));
  }
}

ncclRedOp_t nccl_op(ReduceOp op) {
  return op == ReduceOp::kSum ? ncclSum : op == ReduceOp::kMax ? ncclMax : ncclMin;
}

/// A CUDA event without timing.
class Event {
 public:
  Event() { check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  /// `waiting` goes on only behind what is queued on `stream` now.
  void order(cudaStream_t stream, cudaStream_t waiting) {
    record(stream);
    check_cuda(cudaStreamWaitEvent(waiting, event_, 0), "stream wait");
  }
  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "event record"); }
  [[nodiscard]] cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class NcclWork final : public Work {
 public:
  NcclWork(int device, cudaStream_t stream, at::Tensor tensor)
      : device_(device), tensor_(std::move(tensor)) {
    done_.record(stream);
  }
  ~NcclWork() override {
    if (!waited_) {
      cudaEventSynchronize(done_.get());  // the memory must outlive the operation
    }
  }
  void wait() override {
    const auto index = static_cast<c10::DeviceIndex>(device_);
    // The device waits, not the host: what is queued from now on comes behind the collective.
    check_cuda(cudaStreamWaitEvent(c10::cuda::getCurrentCUDAStream(index).stream(), done_.get(), 0),
               "stream wait");
    waited_ = true;
  }

 private:
  int device_;
  at::Tensor tensor_;
  Event done_;
  bool waited_ = false;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& bootstrap, std::unique_ptr<Communicator> owned, int device)
      : bootstrap_(bootstrap),
        owned_(std::move(owned)),
        device_(device),
        // A stream of its own (of high priority), so that sums run beside backward.
        stream_(c10::cuda::getStreamFromPool(true, static_cast<c10::DeviceIndex>(device))) {
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
    // Made under the guard: an event belongs to the device that is current then.
    ready_.emplace();
    std::string bytes;
    run_agreed(bootstrap_, [&] {
      // Rank 0 makes the id; it reaches the others over what joins them already.
      if (bootstrap_.is_root()) {
        ncclUniqueId id;
        check_nccl(ncclGetUniqueId(&id), "GetUniqueId");
        bytes.assign(id.internal, sizeof id.internal);
      }
    });
    bootstrap_.broadcast_bytes(bytes, 0);
    ncclUniqueId id;
    GM_ASSERT(bytes.size() == sizeof id.internal);
    std::memcpy(id.internal, bytes.data(), bytes.size());
    check_nccl(ncclCommInitRank(&comm_, bootstrap_.size(), id, bootstrap_.rank()), "CommInitRank");
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator() override {
    if (comm_ != nullptr) {
      // Destroying waits for operations that a dead peer never ends.
      if (std::uncaught_exceptions() > 0) {
        ncclCommAbort(comm_);
      } else {
        ncclCommDestroy(comm_);
      }
    }
  }

  int rank() const override { return bootstrap_.rank(); }
  int size() const override { return bootstrap_.size(); }
  int local_rank() const override { return bootstrap_.local_rank(); }
  int local_size() const override { return bootstrap_.local_size(); }
  void set_timeout(double seconds) override {
    timeout_s_ = seconds;
    bootstrap_.set_timeout(seconds);
  }
  void progress() override { check_async(); }

  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override {
    if (tensor.is_cpu()) {
      return bootstrap_.all_reduce_async(std::move(tensor), op);
    }
    const ncclDataType_t type = nccl_type(tensor, "all_reduce");
    const c10::cuda::CUDAGuard guard(device_index());
    begin();
    // In place. Returns when it is queued; the tensor lives as long as the work.
    check_nccl(ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), count(tensor), type, nccl_op(op),
                             comm_, stream_.stream()),
               "AllReduce");
    return std::make_unique<NcclWork>(device_, stream_.stream(), std::move(tensor));
  }

  void reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op) override {
    if (input.is_cpu()) {
      bootstrap_.reduce_scatter(input, std::move(output), op);
      return;
    }
    const ncclDataType_t type = nccl_type(input, "reduce_scatter");
    GM_CHECK(
        nccl_type(output, "reduce_scatter") == type && input.numel() == output.numel() * size(),
        kMismatch, "reduce_scatter: input holds ", input.numel(), " elements, expected ", size(),
        " ranks x ", output.numel(), " of the output's dtype");
    const c10::cuda::CUDAGuard guard(device_index());
    begin();
    check_nccl(ncclReduceScatter(input.data_ptr(), output.data_ptr(), count(output), type,
                                 nccl_op(op), comm_, stream_.stream()),
               "ReduceScatter");
    // Ordered before what the caller queues next, which is all that "blocking" means here.
    NcclWork(device_, stream_.stream(), output).wait();
  }

  void all_gather(const at::Tensor& input, at::Tensor output) override {
    if (input.is_cpu()) {
      bootstrap_.all_gather(input, std::move(output));
      return;
    }
    const ncclDataType_t type = nccl_type(input, "all_gather");
    GM_CHECK(nccl_type(output, "all_gather") == type && output.numel() == input.numel() * size(),
             kMismatch, "all_gather: output holds ", output.numel(), " elements, expected ", size(),
             " ranks x ", input.numel(), " of the input's dtype");
    const c10::cuda::CUDAGuard guard(device_index());
    begin();
    check_nccl(ncclAllGather(input.data_ptr(), output.data_ptr(), count(input), type, comm_,
                             stream_.stream()),
               "AllGather");
    NcclWork(device_, stream_.stream(), output).wait();
  }

  void broadcast(at::Tensor tensor, int root) override {
    if (tensor.is_cpu()) {
      bootstrap_.broadcast(std::move(tensor), root);
      return;
    }
    const ncclDataType_t type = nccl_type(tensor, "broadcast");
    const c10::cuda::CUDAGuard guard(device_index());
    begin();
    check_nccl(ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), count(tensor), type, root, comm_,
                             stream_.stream()),
               "Broadcast");
    NcclWork(device_, stream_.stream(), tensor).wait();
  }

  void barrier() override {
    const c10::cuda::CUDAGuard guard(device_index());
    at::Tensor one =
        at::zeros({1}, at::TensorOptions().dtype(at::kFloat).device(at::kCUDA, device_index()));
    begin();
    // NCCL has no barrier: a sum that everybody must join is one.
    check_nccl(ncclAllReduce(one.data_ptr(), one.data_ptr(), 1, ncclFloat32, ncclSum, comm_,
                             stream_.stream()),
               "AllReduce");
    Event done;
    done.record(stream_.stream());
    const auto start = std::chrono::steady_clock::now();
    // The host polls, because waiting in the driver could not be given up.
    while (cudaEventQuery(done.get()) == cudaErrorNotReady) {
      check_async();
      const double waited =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (timeout_s_ > 0.0 && waited > timeout_s_) {
        abort();
        fail(ErrorCode::kDistributed, "NCCL barrier: rank ", rank(), " waited ", waited,
             " s (timeout_s is ", timeout_s_, "); restart the job to resume");
      }
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    check_cuda(cudaEventQuery(done.get()), "barrier");
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    auto part = bootstrap_.split(color, key);
    Communicator& reference = *part;
    auto out = std::make_unique<NcclCommunicator>(reference, std::move(part), device_);
    out->set_timeout(timeout_s_);
    return out;
  }

  void broadcast_bytes(std::string& bytes, int root) override {
    bootstrap_.broadcast_bytes(bytes, root);
  }
  std::vector<std::string> all_gather_bytes(const std::string& bytes) override {
    return bootstrap_.all_gather_bytes(bytes);
  }

 private:
  [[nodiscard]] c10::DeviceIndex device_index() const {
    return static_cast<c10::DeviceIndex>(device_);
  }
  static std::size_t count(const at::Tensor& tensor) {
    return static_cast<std::size_t>(tensor.numel());
  }
  /// What the caller has queued comes before what we queue. Events belong to the device that is
  /// current when they are made, so every collective holds a guard.
  void begin() {
    GM_CHECK(comm_ != nullptr, kDistributed, "NCCL: this communicator was aborted");
    ready_->order(c10::cuda::getCurrentCUDAStream(device_index()).stream(), stream_.stream());
  }
  void check_async() {
    ncclResult_t state = ncclSuccess;
    // Errors of the network come here, and never from the call that began the operation.
    check_nccl(ncclCommGetAsyncError(comm_, &state), "CommGetAsyncError");
    if (state != ncclSuccess && state != ncclInProgress) {
      abort();
      fail(ErrorCode::kDistributed, "NCCL: rank ", rank(), ": ", ncclGetErrorString(state),
           "; a peer may have died: see the other ranks' messages");
    }
  }
  void abort() {
    ncclCommAbort(comm_);
    comm_ = nullptr;
  }

  Communicator& bootstrap_;
  std::unique_ptr<Communicator> owned_;  // the bootstrap of a part that split() made
  int device_;
  c10::cuda::CUDAStream stream_;
  ncclComm_t comm_ = nullptr;
  std::optional<Event> ready_;
  double timeout_s_ = 0.0;
};

}  // namespace

std::string nccl_version() {
  int version = 0;
  check_nccl(ncclGetVersion(&version), "GetVersion");
  return concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, int device) {
  int version = 0;
  check_nccl(ncclGetVersion(&version), "GetVersion");
  GM_CHECK(version / 100 == NCCL_VERSION_CODE / 100, kMismatch, "NCCL: the library is ",
           nccl_version(), ", the back end was compiled for ", NCCL_MAJOR, ".", NCCL_MINOR,
           "; one libnccl per process: look for a second one in LD_LIBRARY_PATH");
  return std::make_unique<NcclCommunicator>(bootstrap, nullptr, device);
}

}  // namespace growmerge::distributed
