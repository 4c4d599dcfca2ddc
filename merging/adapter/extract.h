// A LoRA adapter that makes one checkpoint of another, as far as its rank reaches.
//
// For each matrix W of a layer: Delta = W_model - W_base = U S V^T (float64), cut after rank r:
// B = U_r sqrt(S_r), A = sqrt(S_r) V_r^T, so that by Eckart and Young (1936) B A is the nearest
// matrix of that rank. r is `rank`, or the fewest whose squared singular values make up `energy` of
// all; alpha = r, so that the factors are the difference itself. What else differs (embedding,
// head, norms) is stored whole, as PEFT's modules_to_save; biases that differ are refused: PEFT's
// LoRA has no place for them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/base/config.h"

namespace growmerge::merging {

struct ExtractConfig {
  std::int64_t rank = 32;
  double energy = 1.0;
  std::string dtype = "float32";

  void describe(FieldVisitor& v) {
    v("rank", rank, "", "the largest rank of a module's factors");
    v("energy", energy, "share",
      "the fewest singular values are kept whose squares make up this share of all, rank at most");
    v("dtype", dtype, "", "of the adapter: float32, bfloat16, float16");
  }
  /// Errors: kInvalidArgument.
  void validate() const;
};

struct ExtractedAdapter {
  std::int64_t num_modules = 0;
  std::int64_t num_whole = 0;     // tensors stored whole
  double largest_residual = 0.0;  // |Delta - B A|_F / |Delta|_F, of all modules
  std::uint64_t bytes = 0;
};

/// Writes adapter_config.json and adapter_model.safetensors into `dir`, which exists. One matrix in
/// memory, and the factors of all. Errors: kMismatch where the models are not of one shape;
/// kUnsupported naming a bias that differs; kCorrupt where one holds NaN or infinity.
ExtractedAdapter extract_adapter(const ExtractConfig& config, const std::filesystem::path& model,
                                 const std::filesystem::path& base,
                                 const std::filesystem::path& dir);

}  // namespace growmerge::merging
