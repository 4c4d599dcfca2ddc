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
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/model/checkpoint.h"
#include "core/store/manifest.h"
#include "merging/recipe.h"
#include "merging/source_model.h"
#include "merging/vocabulary/vocabulary_plan.h"

namespace growmerge::merging {

/// One tensor of the output, and where it stands in the recipe.
struct OutputTensor {
  TensorSpec spec;
  at::ScalarType dtype = at::ScalarType::Float;
  std::size_t slice = 0;   // place in Recipe::slices
  std::int64_t layer = 0;  // inside the slice; 0 where it is in no layer
  double depth = 0.0;      // inside the slice
};

struct MergePlan {
  Recipe recipe;
  std::vector<SourceModel> models;           // as recipe.models
  std::vector<SourceModel> bases;            // as recipe.bases
  std::vector<SafetensorsFile> statistics;   // as recipe.models; empty unless needed
  std::optional<VocabularyPlan> vocabulary;  // of models, then bases; where the recipe asks for one
  ModelConfig config;                        // of the output
  std::vector<OutputTensor> tensors;         // in the order of model_tensors(config)
  at::ScalarType out_dtype = at::ScalarType::Float;  // of the output, or of most of it
  std::uint64_t shard_bytes = 5'000'000'000;
  std::filesystem::path companions_from;
  std::uint64_t bytes_read = 0;     // mapped inputs, once
  std::uint64_t bytes_written = 0;  // weights
  std::uint64_t memory_bytes = 0;   // anonymous memory of the engine itself, estimated
  std::vector<std::string> warnings;

  /// The input that config, layout and dtypes of the output are taken from: base_model, whatever
  /// the method does with it, or where there is none the first model.
  [[nodiscard]] const SourceModel& leader() const;
  /// What --dry-run prints: inputs, output, memory, notes, warnings.
  [[nodiscard]] std::string describe() const;
};

/// Reads the recipe and every header, and checks that the models fit together; no weights yet.
/// Errors: those of load_recipe, SourceModel::open and plan_vocabulary; kMismatch naming the models
/// where shapes or the numbers that decide what a model computes differ, where their tokenizers
/// give one id to different tokens and the recipe has no tokenizer_source, or where statistics
/// belong to another model; kInvalidArgument for layers that a model does not have, and for weights
/// that sum to 0.
[[nodiscard]] MergePlan plan_merge(const std::filesystem::path& recipe,
                                   std::span<const std::string> overrides);
[[nodiscard]] MergePlan plan_merge(Recipe recipe);

/// Writes weights, config.json, companions and model card into `dir`, which exists. Returns the
/// weight files with their hashes; path_identity() knows the hashes of the inputs' weight files
/// afterwards. Goes on where a killed run of the same plan stopped in `dir` (merging/journal.h).
/// Errors: kCorrupt naming tensor and model where an input holds NaN or infinity; kInvalidArgument
/// for weights that sum to 0; kIo.
std::vector<FileRecord> run_merge(const MergePlan& plan, const std::filesystem::path& dir,
                                  Progress& progress);

/// What the manifest of the result says: stage, recipe, inputs with identities, notes, and FLOPs
/// and tokens of all that was spent on the inputs (merging/ledger.h).
/// Hashes inputs that have no manifest.
[[nodiscard]] Manifest merge_manifest(const MergePlan& plan);

}  // namespace growmerge::merging
