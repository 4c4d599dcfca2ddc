// A PEFT LoRA adapter, merged into its model tile by tile: W + s B A (Hu et al. 2021, arXiv
// 2106.09685).
//
// s = alpha / r, or alpha / sqrt(r) with use_rslora (arXiv 2312.03732); rank_pattern and
// alpha_pattern set r and alpha by module. An embedding has A^T B^T. Tensors that the adapter
// stores whole (modules_to_save, biases) stand in the model's place. DoRA, other kinds of adapters,
// and initial values that change the model (PiSSA, OLoRA, ...) are refused by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/model/checkpoint.h"
#include "core/store/safetensors.h"
#include "merging/tile.h"

namespace growmerge::merging {

/// scale B A, of the shape [rows, columns] of one tensor.
struct LowRank {
  std::int64_t rank = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  float scale = 1.0F;
  std::vector<float> a;  // [rank, columns]
  std::vector<float> b;  // [rows, rank]

  /// Adds elements [offset, offset + count) of the flattened product. Float32, ranks in order.
  void add_to(std::int64_t offset, std::int64_t count, float* out) const;
};

class Adapter {
 public:
  /// Reads the factors (small), maps the rest. Errors: kNotFound; kUnsupported naming what is not
  /// merged; kMismatch naming the tensor that the model does not have or whose shape differs;
  /// kCorrupt.
  [[nodiscard]] static Adapter open(const std::filesystem::path& dir,
                                    const CheckpointReader& model);

  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }
  /// Null where the adapter leaves the tensor alone.
  [[nodiscard]] const LowRank* find_product(const std::string& tensor) const;
  /// Null where the adapter does not store it whole.
  [[nodiscard]] const TensorInfo* find_whole(const std::string& tensor) const;
  [[nodiscard]] const SafetensorsFile& file() const { return *file_; }

 private:
  std::filesystem::path dir_;
  std::optional<SafetensorsFile> file_;
  std::unordered_map<std::string, LowRank> products_;   // by the model's tensor
  std::unordered_map<std::string, std::string> whole_;  // the model's tensor to the file's
};

}  // namespace growmerge::merging
