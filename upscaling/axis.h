// How often growth repeats each axis of a model (core/model/tensor_table.h).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/model/tensor_table.h"

namespace growmerge::upscaling {

/// How often each axis is repeated by an operator; whole blocks are repeated, outermost.
class AxisCopies {
 public:
  AxisCopies() { copies_.fill(1); }
  void set(Axis axis, std::int64_t copies) { copies_[static_cast<std::size_t>(axis)] = copies; }
  [[nodiscard]] std::int64_t of(Axis axis) const { return copies_[static_cast<std::size_t>(axis)]; }
  /// Copies of a dimension: the product over its axes.
  [[nodiscard]] std::int64_t of(const std::vector<Axis>& dim) const;

 private:
  std::array<std::int64_t, kNumAxes> copies_;
};

/// Width by an integer factor: residual, q_head, kv_head and ffn together; one KV head that all
/// query heads share (MQA) stays one. Errors: kInvalidArgument for a factor below 1.
[[nodiscard]] AxisCopies width_copies(const ModelConfig& source, std::int64_t factor);

}  // namespace growmerge::upscaling
