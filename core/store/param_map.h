// The currency between rooms: an ordered map from Hugging Face tensor names to tensors.
//
// Order is insertion order and is part of the value (flat buffers, hashes and files follow it).
// Tensors are reference counted by LibTorch: copying a ParamMap shares storage, clone() does not.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace growmerge {

class ParamMap {
 public:
  using Entry = std::pair<std::string, at::Tensor>;

  /// Adds name, or replaces its tensor and keeps its place.
  void set(const std::string& name, at::Tensor tensor);
  /// Errors: kNotFound naming the tensor and the nearest name that is there.
  [[nodiscard]] const at::Tensor& at(const std::string& name) const;
  [[nodiscard]] bool contains(const std::string& name) const { return index_.count(name) != 0; }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] auto begin() const { return entries_.begin(); }
  [[nodiscard]] auto end() const { return entries_.end(); }
  [[nodiscard]] std::vector<std::string> names() const;

  /// Number of elements over all tensors.
  [[nodiscard]] std::int64_t num_elements() const;
  [[nodiscard]] ParamMap clone() const;
  /// Every floating tensor converted (shared where it already has the dtype).
  [[nodiscard]] ParamMap to(at::ScalarType dtype) const;
  /// Same names, order and shapes, all zero, of the given dtype.
  [[nodiscard]] ParamMap zeros_like(at::ScalarType dtype) const;

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
};

/// Errors: kMismatch naming the first tensor that one side lacks or whose shape differs. `what`
/// says what is compared.
void check_same_layout(const ParamMap& a, const ParamMap& b, const std::string& what);

}  // namespace growmerge
