// The parameter store of plain data parallelism: every rank holds and updates the whole model.
//
// Gradients lie in flat buckets (distributed/gradient_buckets.h) that are summed over the ranks
// while backward still runs. As every rank takes the same update with the same sums, masters,
// moments and copies stay the same bits everywhere without being sent again.
#pragma once

#include <cstdint>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/contracts/parameter_store.h"
#include "distributed/gradient_buckets.h"

namespace growmerge::distributed {

struct ReplicatedStoreOptions {
  std::int64_t num_layers = 0;
  at::ScalarType master = at::ScalarType::Float;
  at::ScalarType compute = at::ScalarType::Float;  // another than `master` makes rounded copies
  at::Device device = at::Device(at::kCPU);
  std::int64_t bucket_bytes = 8'000'000;  // of gradients that are summed at a time
};

class ReplicatedStore final : public ParameterStore {
 public:
  /// Copies `params` (any floating dtype and device); rank 0's values win. Collective. Memory: of
  /// the masters twice (gradients), and the rounded copies. `comm` outlives the store.
  ReplicatedStore(const ParamMap& params, const ReplicatedStoreOptions& options,
                  Communicator& comm);

  [[nodiscard]] std::size_t num_units() const override { return units_.size(); }
  void prefetch(std::size_t) override {}  // all units are here, always
  [[nodiscard]] const ParamMap& acquire(std::size_t unit) override;
  void release(std::size_t unit) override;
  void zero_gradients() override { buckets_.zero(); }
  [[nodiscard]] const ParamMap& gradients(std::size_t unit) override;
  void ready(const std::string& name) override { buckets_.ready(name, comm_); }
  void finish_gradients() override { buckets_.finish(comm_); }
  [[nodiscard]] const OwnedParameters& owned() const override { return owned_; }
  void sum_over_owners(const at::Tensor&) override {}  // each rank's sums are of the whole model
  void visit_logical(const ParamMap& owned, const LogicalVisitor& visit) override;
  void fill_logical(const ParamMap& owned, const LogicalVisitor& fill) override;

 private:
  struct Unit {
    ParamMap params, grads;  // share the tensors of owned_
    bool is_acquired = false;
  };

  Communicator& comm_;
  OwnedParameters owned_;
  GradientBuckets buckets_;
  std::vector<Unit> units_;
};

}  // namespace growmerge::distributed
