// Many processes as one: the collectives that every stage may use.
//
// Implementations live in distributed/ (SingleProcess, which needs nothing, is in core): MPI for
// CPU tensors, NCCL for CUDA tensors. Which one a process gets: run_process() in
// launch/process.cpp; for CUDA tensors make_device_communicator() in distributed/device.h. All
// calls are collective: every rank makes the same calls in the same order. One thread per process
// calls. Errors: kDistributed naming the operation and rank when a peer failed or timed out.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace growmerge {

enum class ReduceOp { kSum, kMax, kMin };

/// An operation in flight. Destroying it waits.
class Work {
 public:
  virtual ~Work() = default;
  virtual void wait() = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  /// Rank and number of ranks on this machine.
  [[nodiscard]] virtual int local_rank() const = 0;
  [[nodiscard]] virtual int local_size() const = 0;

  /// In place, contiguous tensors of float32, float64 or int64 (bfloat16 is for NCCL alone).
  [[nodiscard]] virtual std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) = 0;
  /// `input` holds size() equal parts; `output` receives this rank's reduced part.
  virtual void reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op) = 0;
  /// `output` holds size() equal parts in rank order.
  virtual void all_gather(const at::Tensor& input, at::Tensor output) = 0;
  virtual void broadcast(at::Tensor tensor, int root) = 0;
  virtual void barrier() = 0;
  /// Ranks with the same color form a new communicator, ordered by key.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  /// Small host data: root's bytes reach everybody; everybody's bytes reach everybody, in rank
  /// order.
  virtual void broadcast_bytes(std::string& bytes, int root) = 0;
  [[nodiscard]] virtual std::vector<std::string> all_gather_bytes(const std::string& bytes) = 0;

  /// How long a collective may wait for its peers before it throws kDistributed naming who is
  /// missing; 0 waits for ever. Where nothing can hang, nothing happens.
  virtual void set_timeout(double seconds) {}
  /// Moves asynchronous operations forward (MPI works only while it is called).
  virtual void progress() {}

  void all_reduce(at::Tensor tensor, ReduceOp op) {
    all_reduce_async(std::move(tensor), op)->wait();
  }
  [[nodiscard]] double all_reduce_scalar(double value, ReduceOp op);
  /// True when ok is true on every rank. To be called before a collective that follows fallible
  /// work.
  [[nodiscard]] bool all_ok(bool ok) {
    return all_reduce_scalar(ok ? 1.0 : 0.0, ReduceOp::kMin) > 0.5;
  }
  [[nodiscard]] bool is_root() const { return rank() == 0; }
};

/// One process, no peers: every collective is the identity.
[[nodiscard]] std::unique_ptr<Communicator> make_single_process_communicator();

/// Runs fallible local work, then lets all ranks agree: the error of the lowest failing rank is
/// thrown on every rank (its message names that rank), so that nobody is left waiting in a
/// collective.
void run_agreed(Communicator& comm, const std::function<void()>& work);

}  // namespace growmerge
