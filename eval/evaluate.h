// Evaluating models on tasks, as configured, into result directories.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"
#include "core/tokenizer/tokenizer.h"
#include "eval/results.h"
#include "eval/task_config.h"

namespace growmerge::eval {

struct EvalConfig {
  std::vector<TaskConfig> tasks;
  std::string dtype = "float32";
  std::int64_t batch_tokens = 8192;
  bool deterministic = false;
  std::int64_t bootstrap_resamples = 2000;
  double confidence = 0.95;
  std::int64_t seed = 0;

  void describe(FieldVisitor& v) {
    v("tasks", tasks, "", "what is evaluated");
    v("dtype", dtype, "", "of weights and products: float32 or bfloat16 (scores stay float32)");
    v("batch_tokens", batch_tokens, "tokens", "tokens of one forward pass");
    v("deterministic", deterministic, "",
      "every sequence is computed by itself, so that no bit of its score depends on another "
      "(slower)");
    v("bootstrap_resamples", bootstrap_resamples, "", "resamples of every bootstrap interval");
    v("confidence", confidence, "", "of the intervals");
    v("seed", seed, "", "of the bootstrap");
  }
  /// Errors: kInvalidArgument naming the task and the setting.
  void validate() const;
  [[nodiscard]] BootstrapOptions bootstrap() const;
  [[nodiscard]] at::ScalarType scalar_type() const;
  /// Of one forward pass: 1 where every sequence is computed by itself.
  [[nodiscard]] std::int64_t tokens_together() const { return deterministic ? 1 : batch_tokens; }
};

/// Loads and encodes each task once, and serves any number of models that share a tokenizer.
class Evaluator {
 public:
  /// `comm` must outlive the evaluator. Errors: kInvalidArgument (see EvalConfig::validate).
  Evaluator(EvalConfig config, TextLoader loader, Communicator& comm);
  ~Evaluator();

  /// Scores the model on every task. Rank 0 writes out_dir/items/TASK.jsonl and
  /// out_dir/results.json when out_dir is not empty; every rank gets the results. The files' bytes
  /// depend on neither time nor, at equal threads a rank, the number of ranks. Collective. Errors:
  /// what loaders and scorers throw, on every rank; kMismatch when a tokenizer holds more tokens
  /// than the model.
  Results evaluate(const Model& model, const Tokenizer& tokenizer, const ModelIdentity& identity,
                   const std::filesystem::path& out_dir, bool show_progress);

 private:
  struct LoadedTask;
  LoadedTask& load(std::size_t index);
  void encode(LoadedTask& task, const Tokenizer& tokenizer);
  TaskItems score(LoadedTask& task, const Model& model, bool show_progress);

  EvalConfig config_;
  TextLoader loader_;
  Communicator& comm_;
  std::vector<std::unique_ptr<LoadedTask>> tasks_;
};

/// One model, once: Evaluator(config, loader, comm).evaluate(...).
Results evaluate(const EvalConfig& config, const TextLoader& loader, const Model& model,
                 const Tokenizer& tokenizer, const ModelIdentity& identity, Communicator& comm,
                 const std::filesystem::path& out_dir, bool show_progress);

/// What would be read and how it would be scored, a line per task, for --dry-run. Errors: kNotFound
/// naming the first path that is not there.
[[nodiscard]] std::string describe_tasks(const EvalConfig& config);

/// A table of one model's headline figures, for the terminal.
[[nodiscard]] std::string format_results(const Results& results);

}  // namespace growmerge::eval
