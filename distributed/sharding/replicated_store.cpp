#include "distributed/sharding/replicated_store.h"

#include "core/base/error.h"
#include "distributed/sharding/units.h"

namespace growmerge::distributed {
namespace {

ParamMap masters_of(const ParamMap& params, const ReplicatedStoreOptions& options,
                    Communicator& comm) {
  ParamMap out;
  const auto layout = at::TensorOptions().dtype(options.master).device(options.device);
  for (const auto& [name, tensor] : params) {
    // Copied even where nothing changes: the caller's tensors are not ours to train.
    out.set(name, tensor.to(layout, /*non_blocking=*/false, /*copy=*/true).contiguous());
    comm.broadcast(out.at(name), 0);
  }
  return out;
}

}  // namespace

ReplicatedStore::ReplicatedStore(const ParamMap& params, const ReplicatedStoreOptions& options,
                                 Communicator& comm)
    : comm_(comm),
      owned_{.params = masters_of(params, options, comm), .grads = {}, .compute = {}},
      buckets_(owned_.params, options.master, options.bucket_bytes),
      units_(static_cast<std::size_t>(options.num_layers) + 2) {
  owned_.grads = buckets_.grads();
  if (options.compute != options.master) {
    owned_.compute = owned_.params.to(options.compute);
  }
  const ParamMap& computed_with = owned_.compute.empty() ? owned_.params : owned_.compute;
  // The same tensors once more by unit; a ParamMap only counts references.
  for (const auto& [name, tensor] : computed_with) {
    Unit& unit = units_[unit_of(name, options.num_layers)];
    unit.params.set(name, tensor);
    unit.grads.set(name, owned_.grads.at(name));
  }
}

const ParamMap& ReplicatedStore::acquire(std::size_t unit) {
  // Nothing moves, but the order of calls that a sharded store relies on is held to here as well.
  GM_ASSERT(unit < units_.size() && !units_[unit].is_acquired);
  units_[unit].is_acquired = true;
  return units_[unit].params;
}

void ReplicatedStore::release(std::size_t unit) {
  GM_ASSERT(unit < units_.size() && units_[unit].is_acquired);
  units_[unit].is_acquired = false;
}

const ParamMap& ReplicatedStore::gradients(std::size_t unit) {
  GM_ASSERT(unit < units_.size() && units_[unit].is_acquired);
  return units_[unit].grads;
}

void ReplicatedStore::visit_logical(const ParamMap& owned, const LogicalVisitor& visit) {
  GM_ASSERT(owned.size() == owned_.params.size());
  // Agreed even though nothing is gathered: a rank whose visitor failed (a full disk) would leave
  // the others waiting in what comes next.
  run_agreed(comm_, [&] {
    if (visit) {
      for (const auto& [name, tensor] : owned) {
        visit(name, tensor);
      }
    }
  });
}

void ReplicatedStore::fill_logical(const ParamMap& owned, const LogicalVisitor& fill) {
  GM_ASSERT(owned.size() == owned_.params.size());
  run_agreed(comm_, [&] {
    if (comm_.is_root()) {
      for (const auto& [name, tensor] : owned) {
        fill(name, tensor);
      }
    }
  });
  for (const auto& [name, tensor] : owned) {
    comm_.broadcast(tensor, 0);
  }
}

}  // namespace growmerge::distributed
