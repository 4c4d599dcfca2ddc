#include "distributed/mpi_communicator.h"

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <exception>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"

namespace growmerge::distributed {
namespace {

using Clock = std::chrono::steady_clock;

// Small enough that the parts of a long sum move while others compute, large enough for the links.
constexpr std::int64_t kPieceBytes = 4 << 20;
constexpr std::int64_t kMoveBytes = 1 << 30;  // pieces of broadcasts: far below INT_MAX
// Of the notices that a rank waits; the only messages that are not collectives.
constexpr int kMissingTag = 1;

/// Turns MPI's codes into errors; communicators are set to return them rather than to abort.
void check_mpi(int code, const char* operation) {
  if (code == MPI_SUCCESS) {
    return;
  }
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(ErrorCode::kDistributed, "MPI ", operation, ": ", std::string(text, length),
       "; a peer may have died: see the other ranks' messages");
}

/// MPI has no bfloat16 to add.
MPI_Datatype reduce_type(const at::Tensor& tensor, const char* operation) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    default:
      fail(ErrorCode::kUnsupported, operation, " over MPI takes float32, float64 or int64, got ",
           at::toString(tensor.scalar_type()), "; convert to float32 first");
  }
}

MPI_Op reduce_op(ReduceOp op) {
  return op == ReduceOp::kSum ? MPI_SUM : op == ReduceOp::kMax ? MPI_MAX : MPI_MIN;
}

void check_tensor(const at::Tensor& tensor, const char* operation) {
  GM_CHECK(tensor.defined() && tensor.is_cpu(), kUnsupported, operation,
           " over MPI takes CPU tensors; CUDA tensors go over NCCL");
  GM_CHECK(tensor.is_contiguous(), kInvalidArgument, operation,
           " takes contiguous tensors, got strides ", tensor.strides());
}

char* bytes_of(const at::Tensor& tensor) { return static_cast<char*>(tensor.data_ptr()); }

class MpiCommunicator;

class MpiWork final : public Work {
 public:
  MpiWork(MpiCommunicator& comm, std::string operation, at::Tensor tensor)
      : comm_(comm), operation_(std::move(operation)), tensor_(std::move(tensor)) {}
  ~MpiWork() override;
  void wait() override;
  bool test() {
    // A work without requests (an empty tensor) is done.
    int done = 1;
    if (!requests_.empty()) {
      check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                            MPI_STATUSES_IGNORE),
                operation_.c_str());
      if (done != 0) {
        // MPI has freed them; waiting again must not touch them.
        requests_.clear();
      }
    }
    return done != 0;
  }
  std::vector<MPI_Request>& requests() { return requests_; }
  const std::string& operation() const { return operation_; }

 private:
  MpiCommunicator& comm_;
  std::string operation_;
  at::Tensor tensor_;  // keeps the memory alive
  std::vector<MPI_Request> requests_;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, bool finalise) : comm_(comm), finalise_(finalise) {
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "set_errhandler");
    // Notices go over a communicator of their own, so they never match a collective's messages.
    check_mpi(MPI_Comm_dup(comm_, &watch_), "dup");
    check_mpi(MPI_Comm_set_errhandler(watch_, MPI_ERRORS_RETURN), "set_errhandler");
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    MPI_Comm local = MPI_COMM_NULL;
    // Ranks that can share memory are those of one machine.
    check_mpi(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &local),
              "split_type");
    MPI_Comm_rank(local, &local_rank_);
    MPI_Comm_size(local, &local_size_);
    MPI_Comm_free(&local);
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;
  ~MpiCommunicator() override {
    // Freeing and finalising are collective: after an error they could wait for a dead peer.
    if (broken_ || std::uncaught_exceptions() > 0) {
      return;
    }
    MPI_Comm_free(&watch_);
    if (finalise_) {
      MPI_Finalize();
    } else {
      MPI_Comm_free(&comm_);
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  void set_timeout(double seconds) override { timeout_s_ = seconds; }
  void progress() override {
    // Testing is what makes MPI work; whether it is done is asked later.
    for (MpiWork* work : in_flight_) {
      work->test();
    }
  }

  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override {
    check_tensor(tensor, "all_reduce");
    const MPI_Datatype type = reduce_type(tensor, "all_reduce");
    // A new sum is a chance to move the earlier ones on.
    progress();
    // Pieces overlap each other on the wire; counts are int and would end at 2^31.
    auto work = std::make_unique<MpiWork>(*this, "all_reduce", tensor);
    const auto width = static_cast<std::int64_t>(tensor.element_size());
    const std::int64_t piece = kPieceBytes / width;
    for (std::int64_t begin = 0; begin < tensor.numel(); begin += piece) {
      const auto count = static_cast<int>(std::min(piece, tensor.numel() - begin));
      check_mpi(MPI_Iallreduce(MPI_IN_PLACE, bytes_of(tensor) + begin * width, count, type,
                               reduce_op(op), comm_, &work->requests().emplace_back()),
                "all_reduce");
    }
    in_flight_.push_back(work.get());
    return work;
  }

  void reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op) override {
    check_tensor(input, "reduce_scatter");
    check_tensor(output, "reduce_scatter");
    const MPI_Datatype type = reduce_type(input, "reduce_scatter");
    GM_CHECK(input.numel() == output.numel() * size_ && input.dtype() == output.dtype(), kMismatch,
             "reduce_scatter: input holds ", input.numel(), " elements, expected ", size_,
             " ranks x ", output.numel(), " of the output's dtype");
    const at::Tensor parts = input.view({size_, output.numel()});
    const std::int64_t piece = kPieceBytes / static_cast<std::int64_t>(input.element_size());
    for (std::int64_t begin = 0; begin < output.numel(); begin += piece) {
      const std::int64_t count = std::min(piece, output.numel() - begin);
      // The piece of every rank's part side by side, as MPI wants it: [size, count].
      const at::Tensor send = parts.narrow(1, begin, count).contiguous();
      MpiWork work(*this, "reduce_scatter", send);
      check_mpi(
          MPI_Ireduce_scatter_block(
              bytes_of(send),
              bytes_of(output) + begin * static_cast<std::int64_t>(output.element_size()),
              static_cast<int>(count), type, reduce_op(op), comm_, &work.requests().emplace_back()),
          "reduce_scatter");
      work.wait();
    }
  }

  void all_gather(const at::Tensor& input, at::Tensor output) override {
    check_tensor(input, "all_gather");
    check_tensor(output, "all_gather");
    GM_CHECK(output.numel() == input.numel() * size_ && input.dtype() == output.dtype(), kMismatch,
             "all_gather: output holds ", output.numel(), " elements, expected ", size_,
             " ranks x ", input.numel(), " of the input's dtype");
    const at::Tensor parts = output.view({size_, input.numel()});
    const auto width = static_cast<std::int64_t>(input.element_size());
    const std::int64_t piece = kPieceBytes / width;
    for (std::int64_t begin = 0; begin < input.numel(); begin += piece) {
      const std::int64_t count = std::min(piece, input.numel() - begin);
      at::Tensor received = parts.narrow(1, begin, count);
      // With one piece the parts already lie as MPI leaves them; otherwise a copy puts them there.
      const bool direct = received.is_contiguous();
      at::Tensor target = direct ? received : received.clone(at::MemoryFormat::Contiguous);
      MpiWork work(*this, "all_gather", target);
      check_mpi(MPI_Iallgather(bytes_of(input) + begin * width, static_cast<int>(count * width),
                               MPI_BYTE, bytes_of(target), static_cast<int>(count * width),
                               MPI_BYTE, comm_, &work.requests().emplace_back()),
                "all_gather");
      work.wait();
      if (!direct) {
        received.copy_(target);
      }
    }
  }

  void broadcast(at::Tensor tensor, int root) override {
    check_tensor(tensor, "broadcast");
    broadcast_raw(bytes_of(tensor), static_cast<std::int64_t>(tensor.nbytes()), root);
  }

  void barrier() override {
    MpiWork work(*this, "barrier", {});
    check_mpi(MPI_Ibarrier(comm_, &work.requests().emplace_back()), "barrier");
    work.wait();
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_, color, key, &part), "split");
    auto out = std::make_unique<MpiCommunicator>(part, false);
    out->set_timeout(timeout_s_);
    return out;
  }

  void broadcast_bytes(std::string& bytes, int root) override {
    // Receivers do not know the length.
    auto length = static_cast<std::int64_t>(bytes.size());
    broadcast_raw(reinterpret_cast<char*>(&length), sizeof length, root);
    bytes.resize(static_cast<std::size_t>(length));
    broadcast_raw(bytes.data(), length, root);
  }

  std::vector<std::string> all_gather_bytes(const std::string& bytes) override {
    const auto length = static_cast<std::int64_t>(bytes.size());
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(size_));
    {
      MpiWork work(*this, "all_gather_bytes", {});
      check_mpi(MPI_Iallgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, comm_,
                               &work.requests().emplace_back()),
                "all_gather_bytes");
      work.wait();
    }
    std::vector<std::string> out(lengths.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i].resize(static_cast<std::size_t>(lengths[i]));
    }
    out[static_cast<std::size_t>(rank_)] = bytes;
    std::int64_t total = 0;
    // MPI counts in int. What is longer in sum goes rank by rank, in pieces.
    std::vector<int> counts;
    std::vector<int> starts;
    for (const std::int64_t n : lengths) {
      starts.push_back(static_cast<int>(std::min<std::int64_t>(total, INT_MAX)));
      counts.push_back(static_cast<int>(std::min<std::int64_t>(n, INT_MAX)));
      total += n;
    }
    if (total > INT_MAX) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        broadcast_raw(out[i].data(), lengths[i], static_cast<int>(i));
      }
      return out;
    }
    std::string all(static_cast<std::size_t>(total), '\0');
    MpiWork work(*this, "all_gather_bytes", {});
    check_mpi(
        MPI_Iallgatherv(bytes.data(), static_cast<int>(length), MPI_BYTE, all.data(), counts.data(),
                        starts.data(), MPI_BYTE, comm_, &work.requests().emplace_back()),
        "all_gather_bytes");
    work.wait();
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = all.substr(static_cast<std::size_t>(starts[i]), out[i].size());
    }
    return out;
  }

  void forget(MpiWork* work) { in_flight_.remove(work); }

  /// Polls until `work` is done. Spins first (latency), then leaves the core to the peers.
  void complete(MpiWork& work) {
    const Clock::time_point start = Clock::now();
    auto next_probe = start + std::chrono::seconds(1);
    for (int spin = 0; !work.test(); ++spin) {
      // Small messages arrive within microseconds; giving the core away would take longer.
      if (spin < 64) {
        continue;
      }
      // With more ranks than cores the peer that is waited for may need this one.
      sched_yield();
      // Reading the clock costs more than a test.
      if ((spin & 63) != 0) {
        continue;
      }
      const Clock::time_point now = Clock::now();
      if (now < next_probe) {
        continue;
      }
      next_probe = now + std::chrono::milliseconds(50);
      const double waited = std::chrono::duration<double>(now - start).count();
      // When one rank gives up the others do too, instead of each waiting for its own time.
      if (timeout_s_ > 0.0 && (waited > timeout_s_ || peer_gave_up())) {
        report_missing(work.operation(), waited);
      }
      // A wait of over a second is no matter of latency any more.
      usleep(1000);
    }
  }

 private:
  void broadcast_raw(char* data, std::int64_t size, int root) {
    for (std::int64_t begin = 0; begin < size; begin += kMoveBytes) {
      MpiWork work(*this, "broadcast", {});
      check_mpi(MPI_Ibcast(data + begin, static_cast<int>(std::min(kMoveBytes, size - begin)),
                           MPI_BYTE, root, comm_, &work.requests().emplace_back()),
                "broadcast");
      work.wait();
    }
  }

  bool peer_gave_up() {
    int found = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, kMissingTag, watch_, &found, MPI_STATUS_IGNORE);
    return found != 0;
  }

  /// Tells all peers that this rank waits, hears who else does, and names the silent ones.
  [[noreturn]] void report_missing(const std::string& operation, double waited) {
    broken_ = true;
    std::vector<bool> heard(static_cast<std::size_t>(size_), false);
    heard[static_cast<std::size_t>(rank_)] = true;
    // Static, because nobody waits for these sends: the memory must outlive them.
    static const char kNotice = 0;
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) {
        MPI_Request request = MPI_REQUEST_NULL;
        MPI_Isend(&kNotice, 1, MPI_BYTE, peer, kMissingTag, watch_, &request);
        MPI_Request_free(&request);
      }
    }
    // Peers look for notices only while they wait: time enough for one that is about to.
    const auto deadline =
        Clock::now() + std::chrono::duration<double>(std::min(5.0, std::max(1.0, timeout_s_)));
    while (Clock::now() < deadline) {
      int found = 0;
      MPI_Status status;
      MPI_Iprobe(MPI_ANY_SOURCE, kMissingTag, watch_, &found, &status);
      if (found != 0) {
        char ignored = 0;
        MPI_Recv(&ignored, 1, MPI_BYTE, status.MPI_SOURCE, kMissingTag, watch_, MPI_STATUS_IGNORE);
        heard[static_cast<std::size_t>(status.MPI_SOURCE)] = true;
      } else {
        usleep(2000);
      }
    }
    std::string missing;
    for (int peer = 0; peer < size_; ++peer) {
      if (!heard[static_cast<std::size_t>(peer)]) {
        missing += (missing.empty() ? "" : ", ") + std::to_string(peer);
      }
    }
    fail(ErrorCode::kDistributed, operation, ": rank ", rank_, " waited ", waited,
         " s (timeout_s is ", timeout_s_, "); ",
         missing.empty() ? std::string("every rank waits: the ranks are in different collectives")
                         : "no sign of rank " + missing + ": it died, stalls, or is in other work",
         "; restart the job to resume from the last checkpoint");
  }

  MPI_Comm comm_;
  MPI_Comm watch_ = MPI_COMM_NULL;
  bool finalise_;
  bool broken_ = false;
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  double timeout_s_ = 0.0;
  std::list<MpiWork*> in_flight_;
};

MpiWork::~MpiWork() {
  comm_.forget(this);
  // MPI may still write to the tensor. While another error flies, though, a peer may never answer.
  if (!requests_.empty() && std::uncaught_exceptions() == 0) {
    try {
      comm_.complete(*this);
    } catch (const std::exception& e) {
      log_error(e.what());
    }
  }
}

void MpiWork::wait() {
  comm_.complete(*this);
  comm_.forget(this);
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_world(int* argc, char*** argv) {
  int initialised = 0;
  MPI_Initialized(&initialised);
  GM_CHECK(initialised == 0, kDistributed,
           "MPI was initialised before, once per process is enough");
  int provided = MPI_THREAD_SINGLE;
  // One thread talks to MPI while others read data and compute.
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "Init_thread");
  GM_CHECK(provided >= MPI_THREAD_FUNNELED, kDistributed, "this MPI offers no threads (level ",
           provided, "); build it with thread support");
  return std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, true);
}

void abort_job(int exit_code) {
  int initialised = 0;
  int finalised = 0;
  MPI_Initialized(&initialised);
  MPI_Finalized(&finalised);
  if (initialised != 0 && finalised == 0) {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  // No destructors: they would free communicators that peers no longer answer on.
  std::_Exit(exit_code);
}

int run_rank(Communicator& world, const std::function<int()>& work) {
  int code = 0;
  try {
    return work();
  } catch (const Error& e) {
    code = exit_code(e.code());
    log_error(e.what());
    // All ranks agreed to stop and each returns by itself; aborting would look like a failure.
    if (e.code() == ErrorCode::kInterrupted) {
      return code;
    }
  } catch (const std::exception& e) {
    code = exit_code(ErrorCode::kInternal);
    log_error(concat(e.what(), " (unexpected; please report this)"));
  }
  if (world.size() > 1) {
    abort_job(code);
  }
  return code;
}

}  // namespace growmerge::distributed
