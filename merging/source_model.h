// A model as a merge reads it: a checkpoint, or a checkpoint with an adapter. Mapped, not loaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/model/checkpoint.h"
#include "merging/adapter/adapter.h"
#include "merging/model_reference.h"
#include "merging/tile.h"

namespace growmerge::merging {

class SourceModel {
 public:
  /// Errors: those of CheckpointReader::open() and Adapter::open().
  [[nodiscard]] static SourceModel open(const ModelReference& reference);

  [[nodiscard]] const std::filesystem::path& dir() const { return checkpoint_.dir(); }
  [[nodiscard]] const ModelReference& reference() const { return reference_; }
  /// "dir", or "dir+adapter", for messages.
  [[nodiscard]] std::string name() const { return reference_.text(); }
  /// An adapter may have made the vocabulary another size.
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const CheckpointReader& checkpoint() const { return checkpoint_; }
  [[nodiscard]] const Adapter* adapter() const { return adapter_.get(); }
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return checkpoint_.tensors(); }
  [[nodiscard]] std::vector<std::int64_t> shape(const std::string& tensor) const;
  /// In which it is stored.
  [[nodiscard]] at::ScalarType dtype(const std::string& tensor) const;
  [[nodiscard]] std::uint64_t num_bytes(const std::string& tensor) const;
  /// Valid while this lives; it may be moved.
  [[nodiscard]] TileSource tiles(const std::string& tensor) const;
  /// Tells the kernel that the tensor's pages may go; they stay in its cache.
  void drop(const std::string& tensor) const;

 private:
  ModelReference reference_;
  CheckpointReader checkpoint_;
  std::unique_ptr<Adapter> adapter_;
  ModelConfig config_;
};

}  // namespace growmerge::merging
