// Gradients in a few flat buffers that are summed over ranks while backward still runs.
//
// Tensors lie in reverse order of the parameters, which is about the order in which backward
// finishes them. A bucket's reduction starts when its last tensor is ready and all buckets before
// it have started, so every rank starts the same reductions in the same order, whatever its own
// order of readiness, and the sums are the same bits on every rank.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/store/param_map.h"

namespace growmerge::distributed {

class GradientBuckets {
 public:
  /// Buffers of `dtype` for the gradients of `params`. A bucket holds whole tensors, and is closed
  /// when it has reached bucket_bytes.
  GradientBuckets(const ParamMap& params, at::ScalarType dtype, std::int64_t bucket_bytes);

  /// Views into the buffers, with names, order and shapes of the parameters.
  [[nodiscard]] const ParamMap& grads() const { return grads_; }
  [[nodiscard]] std::size_t num_buckets() const { return buckets_.size(); }

  void zero();
  /// A tensor's gradient is final on this rank: starts what can start. Errors: kInternal for a
  /// name that is reported twice.
  void ready(const std::string& name, Communicator& comm);
  /// Starts what is left (tensors that were never reported count as final) and waits for all.
  /// Afterwards grads() holds the sums over ranks, and the next round may begin.
  void finish(Communicator& comm);

 private:
  struct Bucket {
    at::Tensor flat;
    std::size_t num_tensors = 0;
    std::size_t num_ready = 0;
    std::unique_ptr<Work> work;
  };
  void start_ready(Communicator& comm, bool all);

  ParamMap grads_;
  std::vector<Bucket> buckets_;
  std::unordered_map<std::string, std::size_t> bucket_of_;
  std::unordered_map<std::string, bool> is_ready_;
  std::size_t next_ = 0;  // first bucket that has not started
};

}  // namespace growmerge::distributed
