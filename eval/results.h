// Figures of a task, computed from its items alone, and results.json in lm-evaluation-harness's
// layout.
//
// Format: docs/formats/results.md. The same items give the same bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "eval/items.h"

namespace growmerge::eval {

/// Named figures of a task or a part of it. Accuracies are fractions, scores nats unless named
/// otherwise.
///
/// Choices: acc (under the task's normalisation), acc_stderr (lm-eval's: items independent),
/// acc_clustered_stderr (clusters; paradigms for BLiMP), acc_ci_low, acc_ci_high (Wilson,
/// clustered; BLiMP: two-level bootstrap), acc_sum, acc_token, acc_norm (characters), acc_bytes,
/// margin (mean of log p(right) - log p(likeliest other)), margin_stderr, ties, windowed. Texts:
/// bits_per_byte with _stderr, _ci_low, _ci_high (bootstrap over documents), token_perplexity,
/// word_perplexity, byte_perplexity, nll, tokens, characters, words, bytes.
struct TaskSummary {
  std::string name;
  std::int64_t num_items = 0;
  std::vector<std::pair<std::string, double>> metrics;
  std::vector<TaskSummary> paradigms;  // BLiMP: "blimp_adjunct_island", ...
  std::vector<TaskSummary> phenomena;  // "SV-#", "island_effects", ...

  /// Errors: kNotFound naming the metric and those there are.
  [[nodiscard]] double metric(const std::string& metric_name) const;
  [[nodiscard]] bool has(const std::string& metric_name) const;
};

/// Errors: kCorrupt when there are no items, or no bytes to divide by.
[[nodiscard]] TaskSummary summarise(const TaskItems& items);

/// What was evaluated, for the record.
struct ModelIdentity {
  std::string name;      // as shown in tables
  std::string path;      // as given
  std::string identity;  // of its manifest or files
  std::string dtype;     // of the computation
  std::string tokenizer_hash;
};

struct Results {
  ModelIdentity model;
  std::int64_t batch_tokens = 0;
  std::vector<TaskHeader> headers;
  std::vector<TaskSummary> tasks;

  [[nodiscard]] const TaskSummary* find(const std::string& task) const;
};

/// DIR/items/TASK.jsonl
[[nodiscard]] std::filesystem::path items_path(const std::filesystem::path& dir,
                                               const std::string& task);
/// Writes DIR/results.json. Errors: kIo.
void write_results(const std::filesystem::path& dir, const Results& results);
[[nodiscard]] std::string results_json(const Results& results);
/// The results of a directory: identities from results.json, every figure recomputed from the
/// items. Errors: kNotFound; kCorrupt when results.json does not say the same.
[[nodiscard]] Results read_results(const std::filesystem::path& dir);

}  // namespace growmerge::eval
