#include "core/store/param_map.h"

#include <ATen/ops/zeros.h>

#include "core/base/config.h"
#include "core/base/error.h"

namespace growmerge {

void ParamMap::set(const std::string& name, at::Tensor tensor) {
  // A name that is there keeps its place, so that replacing a tensor does not change the order in
  // which all are visited.
  const auto [it, added] = index_.emplace(name, entries_.size());
  if (added) {
    entries_.emplace_back(name, std::move(tensor));
  } else {
    entries_[it->second].second = std::move(tensor);
  }
}

const at::Tensor& ParamMap::at(const std::string& name) const {
  const auto it = index_.find(name);
  if (it == index_.end()) {
    const std::string nearest = nearest_name(name, names());
    fail(ErrorCode::kNotFound, "no tensor '", name, "' among ", size(), " tensors",
         nearest.empty() ? "" : "; the nearest name is '" + nearest + "'");
  }
  return entries_[it->second].second;
}

std::vector<std::string> ParamMap::names() const {
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    out.push_back(entry.first);
  }
  return out;
}

std::int64_t ParamMap::num_elements() const {
  std::int64_t total = 0;
  for (const Entry& entry : entries_) {
    total += entry.second.numel();
  }
  return total;
}

ParamMap ParamMap::clone() const {
  ParamMap out;
  for (const auto& [name, tensor] : entries_) {
    out.set(name, tensor.clone());
  }
  return out;
}

ParamMap ParamMap::to(at::ScalarType dtype) const {
  ParamMap out;
  for (const auto& [name, tensor] : entries_) {
    // Whole numbers, such as token counts, have no compute dtype.
    out.set(name, tensor.is_floating_point() ? tensor.to(dtype) : tensor);
  }
  return out;
}

ParamMap ParamMap::zeros_like(at::ScalarType dtype) const {
  ParamMap out;
  for (const auto& [name, tensor] : entries_) {
    // Of the same sizes but contiguous, whatever the tensor's strides are: AdamW walks over them.
    out.set(name, at::zeros(tensor.sizes(), tensor.options().dtype(dtype)));
  }
  return out;
}

void check_same_layout(const ParamMap& a, const ParamMap& b, const std::string& what) {
  for (const auto& [name, tensor] : a) {
    GM_CHECK(b.contains(name), kMismatch, what, ": tensor '", name,
             "' is missing on the second side");
    GM_CHECK(tensor.sizes() == b.at(name).sizes(), kMismatch, what, ": tensor '", name,
             "' has shape ", tensor.sizes(), " on one side and ", b.at(name).sizes(),
             " on the other");
  }
  for (const auto& [name, tensor] : b) {
    GM_CHECK(a.contains(name), kMismatch, what, ": tensor '", name,
             "' is missing on the first side");
  }
}

}  // namespace growmerge
