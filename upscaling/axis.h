// What each dimension of each tensor of a model ranges over. Growth, symmetry telemetry and tests
// read this one table, so that a tensor cannot be grown by a rule of its own.
//
// A dimension is a product of axes, outermost first: the rows of q_proj are q_head x head_dim, its
// columns are residual. A dimension that a matrix product sums over is its input: copies of an
// input are divided among themselves. An embedding looks its rows up, so it has no input.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model/model_config.h"

namespace growmerge::upscaling {

enum class Axis { kNone, kVocab, kResidual, kQHead, kKvHead, kHeadDim, kFfn, kLayer };
constexpr std::size_t kNumAxes = 8;
[[nodiscard]] const char* axis_name(Axis axis);

enum class TensorKind { kEmbedding, kNormGain, kFinalNormGain, kMatrix, kHead };

/// A row of the table, for one tensor name.
struct TensorAxes {
  std::string group;  // "embed_tokens", "q_proj", ..., "norm", "lm_head": the name of its kind
  TensorKind kind = TensorKind::kMatrix;
  std::vector<std::vector<Axis>> dims;  // axes of each dimension, outermost first
  int input_dim = -1;                   // the dimension that is summed over, or -1
  std::optional<std::int64_t> layer;    // place on the layer axis, which lies in the name
};

/// Errors: kUnsupported naming a tensor that the table does not know.
[[nodiscard]] TensorAxes tensor_axes(const std::string& name);

/// Number of elements along an axis of this model (1 for kNone).
[[nodiscard]] std::int64_t axis_size(const ModelConfig& config, Axis axis);

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
