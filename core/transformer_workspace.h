// What a Workspace holds. Internal to core/transformer*.cpp.
#pragma once

#include <vector>

#include "core/transformer.h"
#include "core/transformer_parts.h"

namespace growmerge {

struct Workspace::Impl {
  std::int64_t head_chunk_rows = 0;
  std::vector<double> model;  // the numbers of the configuration that buffers depend on

  /// What is held, and the part of it that the last call used where that was smaller.
  struct Held {
    transformer::BufferShape shape, part_shape;
    transformer::Buffers buffers, part;
  };
  Held training, inference;
  ops::RopeTable rope;

  /// Buffers of exactly this shape: those that are there, a part of them, or, where they are too
  /// small, new ones. At most one batch of buffers of each kind is held.
  transformer::Buffers& buffers(const ModelConfig& config, std::int64_t num_positions,
                                bool training, at::ScalarType dtype, std::int64_t head_rows);
  const ops::RopeTable& rope_table(std::int64_t num_positions, const ModelConfig& config);
};

/// The caller's workspace or one that ends with the call.
class WorkspaceScope {
 public:
  explicit WorkspaceScope(Workspace* given) : own_(0), used_(given != nullptr ? given : &own_) {}
  Workspace::Impl* operator->() { return &used_->impl(); }

 private:
  Workspace own_;
  Workspace* used_;
};

}  // namespace growmerge
