#include "merging/source_model.h"

#include "core/base/error.h"
#include "core/model/tensor_table.h"

namespace growmerge::merging {

SourceModel SourceModel::open(const ModelReference& reference) {
  SourceModel out;
  out.reference_ = reference;
  out.checkpoint_ = CheckpointReader::open(reference.path);
  out.config_ = out.checkpoint_.config();
  if (!reference.adapter.empty()) {
    out.adapter_ = std::make_unique<Adapter>(Adapter::open(reference.adapter, out.checkpoint_));
    const std::string embedding = tensor_name(Role::kEmbedding);
    out.config_.vocab_size = out.shape(embedding)[0];
    const std::string head = head_tensor_name(out.config_);
    GM_CHECK(out.shape(head)[0] == out.config_.vocab_size, kMismatch, "'", out.name(),
             "': the adapter's embedding has ", out.config_.vocab_size, " rows, the head ",
             out.shape(head)[0], ": both must be in its modules_to_save");
  }
  return out;
}

std::vector<std::int64_t> SourceModel::shape(const std::string& tensor) const {
  const TensorInfo* whole = adapter_ ? adapter_->find_whole(tensor) : nullptr;
  return whole != nullptr ? whole->shape : checkpoint_.info(tensor).shape;
}

at::ScalarType SourceModel::dtype(const std::string& tensor) const {
  return checkpoint_.info(tensor).dtype;
}

std::uint64_t SourceModel::num_bytes(const std::string& tensor) const {
  return checkpoint_.info(tensor).num_bytes();
}

TileSource SourceModel::tiles(const std::string& tensor) const {
  const std::string label = "tensor '" + tensor + "' of '" + name() + "'";
  // PEFT may store an embedding whole beside its product: that is the matrix it adds to.
  const TensorInfo* whole = adapter_ ? adapter_->find_whole(tensor) : nullptr;
  const TensorInfo& info = whole != nullptr ? *whole : checkpoint_.info(tensor);
  const SafetensorsFile& file = whole != nullptr ? adapter_->file() : checkpoint_.file(tensor);
  TileSource plain{.bytes = file.bytes(info), .dtype = info.dtype, .label = label};
  const LowRank* product = adapter_ ? adapter_->find_product(tensor) : nullptr;
  if (product == nullptr) {
    return plain;
  }
  TileSource out;
  out.dtype = plain.dtype;
  out.label = label;
  out.compute = [plain, product](std::int64_t offset, std::int64_t count, float* values) {
    plain.load(offset, count, values);
    product->add_to(offset, count, values);
  };
  return out;
}

void SourceModel::drop(const std::string& tensor) const {
  const SafetensorsFile& file = checkpoint_.file(tensor);
  file.drop(file.info(tensor));
}

}  // namespace growmerge::merging
