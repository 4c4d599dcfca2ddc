// Where a model's parameters, gradients and copies lie among the ranks, behind one interface.
//
// A store has units, in the order of a forward pass: 0 is the embedding, 1 to L are the layers,
// L + 1 is the final norm with the head (a tied head also needs unit 0). A rank *owns* a part of
// every tensor, with which the optimizer works, and sees a unit whole between acquire() and
// release(). In a replicated store everybody owns everything; a sharded one (ZeRO-1 to 3,
// Rajbhandari et al. 2020, arXiv 1910.02054) keeps slices and gathers. Who uses a store asks
// neither.
//
// A step, on every rank:
//   zero_gradients(); for each unit, now or when the pass comes there: acquire(); forward and
//   backward add into gradients(); ready() as backward finishes tensors; release();
//   finish_gradients(); an update of owned(); prefetch() of what the next pass begins with.
//
// One thread calls. Collective (all ranks make the same calls in the same order): all but
// num_units(), gradients(), ready() and owned(). Errors: what the communicator throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <string>

#include "core/store/param_map.h"

namespace growmerge {

/// What a rank updates. The maps have the same names and shapes: whole tensors, or slices along
/// the first dimension.
struct OwnedParameters {
  ParamMap params;   // masters, float32 (float64 for float64 compute)
  ParamMap grads;    // of the masters' dtype; sums over ranks behind finish_gradients()
  ParamMap compute;  // rounded copies that a pass reads; empty where it reads the masters
};

/// Is given a logical tensor: whole, under its name in the model.
using LogicalVisitor = std::function<void(const std::string& name, const at::Tensor& tensor)>;

class ParameterStore {
 public:
  virtual ~ParameterStore() = default;

  [[nodiscard]] virtual std::size_t num_units() const = 0;
  /// Begins to bring a unit here and returns; acquire() waits for the rest. To be called behind the
  /// update whose values are wanted. Without it acquire() does all.
  virtual void prefetch(std::size_t unit) = 0;
  /// A unit's tensors, whole, in the dtype that is computed with, until release(). Errors:
  /// kInternal for a unit that is acquired already.
  [[nodiscard]] virtual const ParamMap& acquire(std::size_t unit) = 0;
  /// Errors: kInternal for a unit that is not acquired.
  virtual void release(std::size_t unit) = 0;

  virtual void zero_gradients() = 0;
  /// Where a pass adds an acquired unit's gradients: whole tensors of the masters' dtype.
  [[nodiscard]] virtual const ParamMap& gradients(std::size_t unit) = 0;
  /// No more is added to this tensor's gradient in this step: it may go to its owners while
  /// backward runs on. The order may differ between ranks. Errors: kInternal for a name that is
  /// reported twice.
  virtual void ready(const std::string& name) = 0;
  /// Returns when owned().grads holds sums over all ranks (on CUDA: in the order of the stream);
  /// tensors that were never reported count as ready.
  virtual void finish_gradients() = 0;

  /// What an optimizer's state is laid out as, too.
  [[nodiscard]] virtual const OwnedParameters& owned() const = 0;
  /// In place: from sums over what each rank owns to sums over the model, the same on all ranks.
  virtual void sum_over_owners(const at::Tensor& sums) = 0;

  /// Calls `visit` with each logical tensor of `owned`, a map laid out as owned().params (masters,
  /// a moment), in the model's order. A rank that gives none takes part without seeing them. What a
  /// visitor throws is thrown on every rank, when all are through.
  virtual void visit_logical(const ParamMap& owned, const LogicalVisitor& visit) = 0;
  /// The way back: rank 0's `fill` overwrites each logical tensor, and every rank's part of it in
  /// `owned` follows. Copies in owned().compute do not. Errors: as visit_logical().
  virtual void fill_logical(const ParamMap& owned, const LogicalVisitor& fill) = 0;
};

}  // namespace growmerge
