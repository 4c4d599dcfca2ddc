// Merging checkpoints: a recipe in, a Hugging Face model directory out.
//
// Arithmetic is float32 whatever the inputs are, rounded once to the output dtype. Tensors are
// streamed from the mapped inputs in tiles and written at their final offsets, so that memory does
// not grow with the models. The result does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/model/checkpoint.h"
#include "core/store/manifest.h"
#include "merging/recipe.h"

namespace growmerge::merging {

struct MergePlan {
  Recipe recipe;
  std::vector<CheckpointReader> models;     // as recipe.models
  std::unique_ptr<CheckpointReader> base;   // null where the method has none
  std::vector<SafetensorsFile> statistics;  // as recipe.models; empty unless needed
  ModelConfig config;                       // of the output
  at::ScalarType out_dtype = at::ScalarType::Float;
  std::uint64_t shard_bytes = 5'000'000'000;
  std::filesystem::path companions_from;
  std::uint64_t bytes_read = 0;     // mapped inputs, once
  std::uint64_t bytes_written = 0;  // weights
  std::uint64_t memory_bytes = 0;   // anonymous memory of the engine itself, estimated
  std::vector<std::string> warnings;

  /// What --dry-run prints: inputs, output, memory, warnings.
  [[nodiscard]] std::string describe() const;
};

/// Reads the recipe and every header, and checks that the models fit together; no weights yet.
/// Errors: those of load_recipe and CheckpointReader::open; kMismatch naming the models where
/// shapes or the numbers that decide what a model computes differ, or where statistics belong to
/// another model.
[[nodiscard]] MergePlan plan_merge(const std::filesystem::path& recipe,
                                   std::span<const std::string> overrides);
[[nodiscard]] MergePlan plan_merge(Recipe recipe);

/// Writes weights, config.json and companions into `dir`, which exists. Returns the weight files
/// with their hashes; path_identity() knows the hashes of the inputs' weight files afterwards.
/// Errors: kCorrupt naming tensor and model where an input holds NaN or infinity; kInvalidArgument
/// for weights that sum to 0; kIo.
std::vector<FileRecord> run_merge(const MergePlan& plan, const std::filesystem::path& dir,
                                  Progress& progress);

/// What the manifest of the result says: stage, recipe, inputs with identities, notes, and FLOPs
/// and tokens of all that was spent on the inputs (merging/ledger.h).
/// Hashes inputs that have no manifest.
[[nodiscard]] Manifest merge_manifest(const MergePlan& plan);

}  // namespace growmerge::merging
