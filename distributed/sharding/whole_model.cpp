#include "distributed/sharding/whole_model.h"

#include <utility>

namespace growmerge::distributed {
namespace {

void add(ParamMap& all, const ParamMap& part) {
  for (const auto& [name, tensor] : part) {
    all.set(name, tensor);
  }
}

}  // namespace

WholeModel::WholeModel(ParameterStore& store) : store_(store) {
  for (std::size_t unit = 0; unit < store_.num_units(); ++unit) {
    add(params_, store_.acquire(unit));
  }
}

WholeModel::~WholeModel() {
  // Before the store may reuse the memory.
  params_ = {};
  for (std::size_t unit = 0; unit < store_.num_units(); ++unit) {
    store_.release(unit);
  }
}

ParamMap WholeModel::gradients() const {
  ParamMap all;
  for (std::size_t unit = 0; unit < store_.num_units(); ++unit) {
    add(all, store_.gradients(unit));
  }
  return all;
}

void prefetch_all(ParameterStore& store) {
  for (std::size_t unit = 0; unit < store.num_units(); ++unit) {
    store.prefetch(unit);
  }
}

LogicalVisitor collect_into(ParamMap& map, std::string prefix) {
  // Shares the tensor where the store hands out its own: a replicated one copies nothing.
  return [&map, prefix = std::move(prefix)](const std::string& name, const at::Tensor& tensor) {
    map.set(prefix + name, tensor);
  };
}

}  // namespace growmerge::distributed
