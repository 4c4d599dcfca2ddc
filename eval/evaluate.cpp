#include "eval/evaluate.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "eval/tasks/kind.h"

namespace growmerge::eval {

namespace {

/// Of files that may not be what they are taken for.
void warn_of(const Task& task) {
  if (!task.warning.empty()) {
    log_warning(task.warning);
  }
  if (task.read.rows_of_quotes > 0) {
    log_warning(
        concat(task.read.rows_of_quotes,
               " rows have a field that reads as if it were quoted (\"...\"\"...\"): a quote "
               "is a character unless the task sets `quoted: true`"));
  }
}

}  // namespace

void EvalConfig::validate() const {
  GM_CHECK(!tasks.empty(), kInvalidArgument, "evaluation: tasks is empty");
  std::set<std::string> names;
  for (const TaskConfig& task : tasks) {
    task.validate();
    GM_CHECK(names.insert(task.full_name()).second, kInvalidArgument, "two tasks are named '",
             task.full_name(), "'; give one a name");
  }
  (void)scalar_type();
  GM_CHECK(batch_tokens >= 1, kInvalidArgument, "batch_tokens is ", batch_tokens,
           ", expected at least 1");
  GM_CHECK(bootstrap_resamples >= 100, kInvalidArgument, "bootstrap_resamples is ",
           bootstrap_resamples, ", expected at least 100");
  GM_CHECK(confidence > 0.0 && confidence < 1.0, kInvalidArgument, "confidence is ", confidence,
           ", expected a number between 0 and 1");
}

BootstrapOptions EvalConfig::bootstrap() const {
  return {.resamples = bootstrap_resamples,
          .seed = static_cast<std::uint64_t>(seed),
          .confidence = confidence};
}

at::ScalarType EvalConfig::scalar_type() const {
  GM_CHECK(dtype == "float32" || dtype == "bfloat16", kInvalidArgument, "dtype is '", dtype,
           "', expected float32 or bfloat16");
  return dtype == "float32" ? at::kFloat : at::kBFloat16;
}

struct Evaluator::LoadedTask {
  TaskConfig config;
  const TaskKind* kind = nullptr;
  TaskHeader header;  // context is filled per model
  Task task;
  std::string tokenizer_hash;  // of `encoded`
  EncodedTexts encoded;
};

Evaluator::Evaluator(EvalConfig config, TextLoader loader, Communicator& comm)
    : config_(std::move(config)), loader_(std::move(loader)), comm_(comm) {
  config_.validate();
  tasks_.resize(config_.tasks.size());
}

Evaluator::~Evaluator() = default;

Evaluator::LoadedTask& Evaluator::load(std::size_t index) {
  if (tasks_[index]) {
    return *tasks_[index];
  }
  auto loaded = std::make_unique<LoadedTask>();
  loaded->config = config_.tasks[index];
  const TaskConfig& config = loaded->config;
  loaded->kind = &task_kind(config.kind);
  TaskHeader& header = loaded->header;
  header.name = config.full_name();
  header.kind = config.kind;
  header.language = config.language;
  header.bootstrap = config_.bootstrap();
  header.dtype = config_.dtype;
  header.limit = config.limit;
  header.settings = kind_settings(config);
  run_agreed(comm_, [&] {
    // Fallible, and on every rank: a rank that fails here must not leave the others in a
    // collective.
    header.rules = resolve_rules(config.preset, config.kind, config.rules);
    Task& task = loaded->task;
    task = loaded->kind->load(config, loader_);
    GM_CHECK(!task.items.empty(), kCorrupt, "task '", header.name, "': there are no ",
             loaded->kind->items, " in ", config.path.front());
    if (comm_.is_root()) {
      warn_of(task);
    }
    if (task.read.files > 0) {
      log_info(concat(header.name, ": ", task.read.text(), " -> ", task.items.size(), " ",
                      loaded->kind->items));
    }
    if (task.empty_documents > 0) {
      log_info(concat(header.name, ": ", task.empty_documents, " empty documents are left out"));
    }
    task.name = header.name;
    header.macro = task.macro;
    header.shots = task.shots;
    header.empty_documents = task.empty_documents;
    header.example = task.items.front().context;
    if (!header.example.empty()) {
      log_info(concat(header.name, ": the first item is asked as\n", header.example,
                      "\n[then one of ", task.items.front().choices.size(), " choices, as '",
                      header.rules.delimiter, task.items.front().choices.front(), "']"));
    }
    for (const auto& [paradigm, count] : task.available) {
      header.original[paradigm.empty() ? header.name : paradigm] = count;
    }
    // Of what was read, not of files: two copies of a benchmark compare.
    header.data_hash = hash_items(task.items);
  });
  tasks_[index] = std::move(loaded);
  return *tasks_[index];
}

void Evaluator::encode(LoadedTask& task, const Tokenizer& tokenizer) {
  // Checkpoints of one run share a tokenizer, and encoding costs as much as scoring a small model.
  if (task.tokenizer_hash == tokenizer.hash() && !task.encoded.empty()) {
    return;
  }
  task.encoded = task.kind->family->encode(task.task, task.header.rules, tokenizer, comm_);
  task.tokenizer_hash = tokenizer.hash();
}

TaskItems Evaluator::score(LoadedTask& task, const Model& model, bool show_progress) {
  const std::int64_t longest = model.config.max_position_embeddings;
  const std::int64_t context = task.config.context == 0 ? longest : task.config.context;
  // Positions beyond those it was trained on would be scored, badly and silently.
  GM_CHECK(context <= longest, kInvalidArgument, "task '", task.header.name, "': context ", context,
           " exceeds the model's ", longest);
  const std::string identical = task.task.num_identical == 0
                                    ? ""
                                    : concat(", ", task.task.num_identical, " of them identical");
  log_info(concat(task.header.name, ": ", task.task.items.size(), " ", task.kind->items, identical,
                  "; ",
                  task.kind->family->plan(task.config, task.header.rules, context, config_.dtype)));
  const ScoringSetup setup{.config = task.config,
                           .rules = task.header.rules,
                           .context = context,
                           .options = {.batch_tokens = config_.tokens_together(),
                                       .title = task.header.name,
                                       .show_progress = show_progress}};
  TaskItems items;
  items.header = task.header;
  items.header.context = context;
  items.records = task.kind->family->score(model, task.task, task.encoded, setup, comm_);
  return items;
}

Results Evaluator::evaluate(const Model& model, const Tokenizer& tokenizer,
                            const ModelIdentity& identity, const std::filesystem::path& out_dir,
                            bool show_progress) {
  GM_CHECK(tokenizer.vocab_size() <= model.config.vocab_size, kMismatch, "evaluating '",
           identity.name, "': its tokenizer holds ", tokenizer.vocab_size(),
           " tokens, the model's vocabulary ", model.config.vocab_size,
           "; take the tokenizer that the model was trained with");
  const bool writes = !out_dir.empty() && comm_.is_root();
  Results results;
  results.model = identity;
  results.model.dtype = config_.dtype;
  results.model.tokenizer_hash = tokenizer.hash();
  results.batch_tokens = config_.tokens_together();
  for (std::size_t i = 0; i < tasks_.size(); ++i) {
    LoadedTask& task = load(i);
    encode(task, tokenizer);
    // Items are written task by task, results.json last: it says that all of them are there.
    const TaskItems items = score(task, model, show_progress);
    run_agreed(comm_, [&] {
      if (writes) {
        std::filesystem::create_directories(out_dir / "items");
        write_items(items_path(out_dir, items.header.name), items);
      }
    });
    results.headers.push_back(items.header);
    results.tasks.push_back(summarise(items));
  }
  run_agreed(comm_, [&] {
    if (writes) {
      write_results(out_dir, results);
    }
  });
  return results;
}

Results evaluate(const EvalConfig& config, const TextLoader& loader, const Model& model,
                 const Tokenizer& tokenizer, const ModelIdentity& identity, Communicator& comm,
                 const std::filesystem::path& out_dir, bool show_progress) {
  return Evaluator(config, loader, comm)
      .evaluate(model, tokenizer, identity, out_dir, show_progress);
}

std::string describe_tasks(const EvalConfig& config) {
  config.validate();
  std::string text;
  for (const TaskConfig& task : config.tasks) {
    const TaskKind& kind = task_kind(task.kind);
    std::int64_t files = 0;
    std::uintmax_t bytes = 0;
    for (const std::filesystem::path path : task.inputs()) {
      GM_CHECK(std::filesystem::exists(path), kNotFound, "task '", task.full_name(),
               "': ", path.string(), ": no such file or folder");
      if (std::filesystem::is_regular_file(path)) {
        ++files;
        bytes += std::filesystem::file_size(path);
        continue;
      }
      for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        const std::string extension = entry.path().extension().string();
        // Readers of text know more extensions; they are checked when the stage starts.
        if (entry.is_regular_file() &&
            (kind.reads_text || extension == ".jsonl" || extension == ".tsv")) {
          ++files;
          bytes += entry.file_size();
        }
      }
    }
    text +=
        concat(task.full_name(), ": ", task.kind, ", reads ", files, " files, ", bytes, " bytes");
    if (task.limit) {
      text += concat(", first ", *task.limit, kind.reads_text ? " documents" : " items of each");
    }
    text += concat("; ",
                   kind.family->plan(task, resolve_rules(task.preset, task.kind, task.rules),
                                     task.context, config.dtype),
                   "\n");
  }
  return text;
}

std::string format_results(const Results& results) {
  std::string text;
  for (std::size_t i = 0; i < results.tasks.size(); ++i) {
    const TaskSummary& task = results.tasks[i];
    const ScoringFamily& family = *task_kind(results.headers[i].kind).family;
    const std::string metric = family.metric;
    char line[256];
    std::snprintf(line, sizeof line, "%-28s %-14s %8.4f", task.name.c_str(), family.metric,
                  task.metric(metric));
    text += line;
    // The interval of a single unit is a point, and would look like certainty.
    if (task.num_items >= family.fewest_for_interval) {
      std::snprintf(line, sizeof line, "  [%.4f, %.4f]", task.metric(metric + "_ci_low"),
                    task.metric(metric + "_ci_high"));
      text += line;
    }
    text += concat("  n ", task.num_items);
    for (const char* count : family.counts) {
      text += concat(", ", count, " ", static_cast<std::int64_t>(task.metric(count)));
    }
    text += "\n";
  }
  return text;
}

}  // namespace growmerge::eval
