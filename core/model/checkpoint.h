// A Hugging Face model directory, in and out.
//
// In: config.json, model.safetensors (taken before an index that stands beside it, which is said)
// or an index with its shards. `.bin` weights and a lone SentencePiece model are refused with the
// command that converts them; a tied model's lm_head.weight must equal the embedding; stored
// buffers such as inv_freq are passed over. Out: the same, plus the companions: what Transformers,
// vLLM and llama.cpp look for beside weights (tokenizer, chat templates, generation settings,
// code), and the licence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/model/model_config.h"
#include "core/model/tensor_table.h"
#include "core/store/param_map.h"
#include "core/store/safetensors.h"

namespace growmerge {

struct Model {
  ModelConfig config;
  ParamMap params;
};

/// The tensors of a checkpoint directory, mapped and not loaded.
class CheckpointReader {
 public:
  /// Errors: kNotFound, kCorrupt, kUnsupported, kMismatch (missing, unexpected or mis-shaped tensor
  /// against config.json).
  [[nodiscard]] static CheckpointReader open(const std::filesystem::path& dir);

  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  /// In the canonical order of model_tensors().
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return tensors_; }
  [[nodiscard]] const TensorInfo& info(const std::string& name) const;
  /// The file that holds a tensor.
  [[nodiscard]] const SafetensorsFile& file(const std::string& name) const;
  [[nodiscard]] at::Tensor load(const std::string& name) const { return file(name).load(name); }
  /// The dtype that most elements are stored in.
  [[nodiscard]] at::ScalarType dtype() const;

 private:
  std::filesystem::path dir_;
  ModelConfig config_;
  std::vector<TensorInfo> tensors_;
  std::vector<SafetensorsFile> files_;
  std::unordered_map<std::string, std::size_t> index_;  // name to its place in tensors_
  std::vector<std::size_t> file_of_;                    // place in tensors_ to place in files_
};

/// False when a floating tensor (CPU, any layout) holds NaN or infinity. Integers are always
/// finite.
[[nodiscard]] bool all_finite(const at::Tensor& tensor);

/// The whole model, converted to `dtype`. Errors: as open(), and kCorrupt naming the first tensor
/// that holds NaN or infinity.
[[nodiscard]] Model load_model(const std::filesystem::path& dir, at::ScalarType dtype);

struct SaveOptions {
  at::ScalarType dtype = at::ScalarType::Float;
  std::uint64_t shard_bytes = 5'000'000'000;  // larger models are split, with an index
  std::filesystem::path
      companions_from{};  // directory whose tokenizer and generation files are carried along
};
/// Writes config.json, the weights and the companions into `dir`, which exists. Does not make it
/// whole: see StageOutput. Errors: kCorrupt naming the first tensor that holds NaN or infinity
/// (nothing of value is overwritten); kIo.
void save_model(const std::filesystem::path& dir, const Model& model, const SaveOptions& options);
/// The layout of the weight files that save_model writes: one file, or shards of at most
/// shard_bytes (a single larger tensor stands alone) and the index text that belongs to them. For
/// writers that stream.
struct WeightFiles {
  std::vector<std::string> names;                              // file names
  std::vector<std::vector<SafetensorsWriter::Entry>> entries;  // tensors of each file
  std::string index_json;                                      // empty when there is one file
};
[[nodiscard]] WeightFiles plan_weight_files(const ModelConfig& config, at::ScalarType dtype,
                                            std::uint64_t shard_bytes);
/// The same of tensors that each have a dtype of their own.
[[nodiscard]] WeightFiles plan_weight_files(
    const ModelConfig& config, const std::function<at::ScalarType(const std::string&)>& dtype_of,
    std::uint64_t shard_bytes);

/// Only the companion files. Returns the names copied.
std::vector<std::string> copy_companions(const std::filesystem::path& from,
                                         const std::filesystem::path& to);

/// Random weights as Transformers initialises a model: what the table of tensors says of each. A
/// pure function of (config, seed).
[[nodiscard]] Model init_model(const ModelConfig& config, std::uint64_t seed);

}  // namespace growmerge
