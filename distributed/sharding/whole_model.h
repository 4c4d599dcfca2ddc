// For code that takes a model as one ParamMap: all units of a parameter store at a time.
#pragma once

#include <string>

#include "core/contracts/parameter_store.h"

namespace growmerge::distributed {

/// Holds every unit acquired while it lives. Collective, like acquire() and release().
class WholeModel {
 public:
  explicit WholeModel(ParameterStore& store);
  ~WholeModel();
  WholeModel(const WholeModel&) = delete;
  WholeModel& operator=(const WholeModel&) = delete;

  /// In the model's order, in the dtype that is computed with.
  [[nodiscard]] const ParamMap& params() const { return params_; }
  /// Where a pass adds gradients: the same names and order.
  [[nodiscard]] ParamMap gradients() const;

 private:
  ParameterStore& store_;
  ParamMap params_;
};

/// Begins to bring all units.
void prefetch_all(ParameterStore& store);

/// A visitor that keeps what it is given in `map`, under prefix + name.
[[nodiscard]] LogicalVisitor collect_into(ParamMap& map, std::string prefix = "");

}  // namespace growmerge::distributed
