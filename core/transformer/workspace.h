// What a Workspace holds. Internal to core/transformer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/contracts/batch_source.h"
#include "core/transformer/attention_block.h"
#include "core/transformer/backend.h"
#include "core/transformer/buffers.h"
#include "core/transformer/transformer.h"

namespace growmerge {

/// What a recorded forward and backward pass depends on beside its batch's shape: the same key
/// means that replaying it does the same work.
struct RecordingKey {
  std::int64_t generation = 0;  // of the workspace's buffers
  double gradient_scale = 0.0;
  std::vector<const void*> tensors;  // parameters and gradients
  bool operator==(const RecordingKey&) const = default;
};

/// A batch on a device, at addresses that stay from one batch of its shape to the next.
struct DeviceBatch {
  std::int64_t max_starts = 0;         // entries that `starts` has room for
  at::Tensor packed;                   // int64; what all of the following lie in
  at::Tensor tokens, targets;          // int64 [N]
  at::Tensor positions;                // int32 [N]
  at::Tensor starts;                   // int32 [max_starts], ends in N as often as there is room
  at::Tensor loss_sum;                 // float64 [B]
  at::Tensor num_targets;              // int64 [B]
  RecordingKey key;                    // of the last call that could have been recorded
  std::unique_ptr<DeviceGraph> graph;  // recorded under `key`
};

struct Workspace::Impl {
  std::int64_t head_chunk_rows = 0;
  bool records_graphs = false;
  std::optional<ModelConfig> model;  // that buffers were made for
  std::int64_t generation = 0;       // counts up whenever a buffer gets another address

  /// What is held, and the part of it that the last call used where that was smaller.
  struct Held {
    transformer::BufferShape shape, part_shape;
    transformer::Buffers buffers, part;
  };
  Held training, inference;
  transformer::Ropes ropes;
  std::int64_t rope_positions = 0;                                       // that they were made for
  std::map<std::pair<std::int64_t, std::int64_t>, DeviceBatch> batches;  // by rows, row_tokens

  /// Buffers of exactly this shape: those that are there, a part of them, or, where they are too
  /// small, new ones. At most one batch of buffers of each kind is held. `head_rows`: 0 where no
  /// logits are needed.
  transformer::Buffers& buffers(const ModelConfig& config, transformer::BufferShape shape,
                                std::int64_t head_rows);
  const transformer::Ropes& ropes_for(std::int64_t num_positions, const ModelConfig& config,
                                      at::Device device);
  /// The batch on a device. To CUDA one copy from pinned memory is queued and nobody waits for it.
  /// Errors: kMismatch when segments do not tile the batch, or are longer than a row.
  DeviceBatch& upload(const ModelConfig& config, const Batch& batch, at::Device device);
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
