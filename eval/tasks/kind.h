// The kinds of tasks: one table, a row per kind.
//
// A row holds everything that depends on the kind: its settings, its rules, how its items are read.
// How items are then encoded, scored and summarised is shared by a family: choices (what is decided
// between texts) or running text. Config checks, --dry-run, results and reports read this table and
// never a kind's name. To add a kind: docs/methods/evaluation.md.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"
#include "core/tokenizer/tokenizer.h"
#include "eval/compare.h"
#include "eval/encode.h"
#include "eval/items.h"
#include "eval/results.h"
#include "eval/scoring_rules.h"
#include "eval/sequence_scorer.h"
#include "eval/task.h"
#include "eval/task_config.h"

namespace growmerge::eval {

/// What scoring needs beside model and items.
struct ScoringSetup {
  const TaskConfig& config;
  ScoringRules rules;
  std::int64_t context = 0;  // tokens of one window, > 0
  ScorerOptions options;
};

/// What is done with the items of several kinds alike.
struct ScoringFamily {
  const char* metric;  // the headline; _ci_low and _ci_high stand beside it
  bool higher_is_better;
  std::vector<const char*> counts;   // metrics shown beside the headline
  std::int64_t fewest_for_interval;  // one unit alone is drawn again and again

  /// How the task is scored, for logs and --dry-run. `context` 0 is the model's, not known yet.
  std::string (*plan)(const TaskConfig& config, const ScoringRules& rules, std::int64_t context,
                      const std::string& dtype);
  /// One per choice, item after item. Collective.
  EncodedTexts (*encode)(const Task& task, const ScoringRules& rules, const Tokenizer& tokenizer,
                         Communicator& comm);
  /// One record per item, in order, the same on every rank. Collective.
  std::vector<ItemRecord> (*score)(const Model& model, const Task& task,
                                   const EncodedTexts& encoded, const ScoringSetup& setup,
                                   Communicator& comm);
  TaskSummary (*summarise)(const TaskItems& items);
  /// Both were scored on the same items under the same rules. The whole task first.
  std::vector<Comparison> (*compare)(const TaskItems& a, const TaskItems& b,
                                     const BootstrapOptions& options);
};

struct TaskKind {
  const char* name;
  const char* doc;    // one line
  const char* items;  // what its items are called: "pairs", "documents"
  /// Members of TaskConfig that it takes beyond name, kind, path, language, limit and context;
  /// "rules.prefix" is one of the rules, "rules" all of them.
  std::vector<const char*> options;
  bool several_paths;
  bool quoted = false;  // fields of its .tsv files may stand in quotes, unless the task says
  bool reads_text;      // its paths hold documents, which the caller's TextLoader reads
  ScoringRules original;
  ScoringRules lm_eval;
  /// Reads the items. Called on every rank; not collective. Errors: kNotFound, kCorrupt.
  Task (*load)(const TaskConfig& config, const TextLoader& loader);
  /// Complains of what a task's settings leave out; null where nothing can be missing.
  void (*check)(const TaskConfig& config);
  const ScoringFamily* family;

  /// Whether a setting ("lines", "rules.tie") applies.
  [[nodiscard]] bool takes(const std::string& option) const;
  /// Of the rules those that apply where not all do, for an error: "prefix".
  [[nodiscard]] std::string rules_taken() const;
};

[[nodiscard]] std::span<const TaskKind> task_kinds();
/// Errors: kInvalidArgument naming the kinds there are.
[[nodiscard]] const TaskKind& task_kind(const std::string& name);
/// The headline of a task's results: "acc", "bits_per_byte".
[[nodiscard]] std::string headline_metric(const TaskHeader& header);

}  // namespace growmerge::eval
