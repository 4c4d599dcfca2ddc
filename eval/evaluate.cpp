#include "eval/evaluate.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/hashes.h"
#include "eval/encode.h"
#include "eval/pair_scorer.h"
#include "eval/request_set.h"

namespace growmerge::eval {
namespace {

bool is_bpb(const TaskConfig& task) { return task.kind == "bpb"; }

void validate_task(const TaskConfig& task) {
  const std::string name = task.full_name();
  const auto need = [&](bool ok, const std::string& text) {
    GM_CHECK(ok, kInvalidArgument, "task '", name, "': ", text);
  };
  need(task.kind == "blimp" || task.kind == "multiblimp" || task.kind == "pairs" || is_bpb(task),
       "kind is '" + task.kind + "', expected blimp, multiblimp, pairs or bpb");
  need(!task.path.empty(), "no path is given");
  const bool several = task.kind == "pairs" || is_bpb(task);
  need(several || task.path.size() == 1, task.kind + " takes one path");
  need(std::all_of(name.begin(), name.end(),
                   [](unsigned char c) {
                     return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
                   }) &&
           name.front() != '.',
       "a name is made of letters, digits, '_', '-' and '.'");
  need(!task.limit || *task.limit >= 1, "limit must be at least 1");
  need(task.context >= 0, "context must be 0 or more tokens");
  need(!task.max_characters || (is_bpb(task) && *task.max_characters >= 1),
       "max_characters is for bpb, at least 1");
  need(is_bpb(task) || !task.prefix_each_window, "prefix_each_window is for bpb");
  need(is_bpb(task) || !task.lines, "lines is for bpb");
  if (is_bpb(task)) {
    const PairRuleChanges& rules = task.rules;
    need(!rules.delimiter && !rules.tie && !rules.first_token && !rules.normalisation &&
             !rules.overlong,
         "of the rules, only prefix applies to bpb");
    need(rules.prefix.value_or("auto") != "none", "bpb needs a prefix: auto, bos or eos");
  } else {
    with_context("task '" + name + "'",
                 [&] { (void)resolve_rules(task.preset, task.kind, task.rules); });
  }
}

std::string data_hash(const std::vector<std::string_view>& parts) {
  std::string all;
  for (const std::string_view part : parts) {
    all += std::to_string(part.size()) + ":";
    all += part;
  }
  return hash_bytes(all.data(), all.size());
}

std::string rules_text(const PairRules& rules, const std::string& dtype) {
  return concat("prefix ", rules.prefix, ", delimiter '", rules.delimiter, "', tie ", rules.tie,
                ", first token ", rules.first_token, ", ", rules.normalisation, " of log p; ",
                dtype, " products, float32 log p");
}

/// Windows move by half of what they hold; later ones may give one input to the prefix.
std::string text_rules(const TaskConfig& task, std::int64_t context, const std::string& dtype) {
  const std::string windows = context == 0
                                  ? "context of the model, stride half of it"
                                  : concat("context ", context, ", stride ",
                                           RequestSet::stride_of(context, task.prefix_each_window));
  const std::string cut = task.max_characters
                              ? concat("first ", *task.max_characters, " characters of each")
                              : "whole documents";
  return concat("prefix ", task.rules.prefix.value_or("auto"),
                task.prefix_each_window ? " of each window, " : " of each document, ", windows,
                ", ", cut, "; ", dtype, " products, float32 log p");
}

}  // namespace

std::string TaskConfig::full_name() const {
  return !name.empty() ? name : language.empty() ? kind : kind + "_" + language;
}

void EvalConfig::validate() const {
  GM_CHECK(!tasks.empty(), kInvalidArgument, "evaluation: tasks is empty");
  std::set<std::string> names;
  for (const TaskConfig& task : tasks) {
    validate_task(task);
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
  TaskHeader header;  // context is filled per model
  PairTask pairs;
  std::vector<Document> documents;
  std::string tokenizer_hash;                      // of `encoded`
  std::vector<std::vector<std::int32_t>> encoded;  // sentences or documents
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
  auto task = std::make_unique<LoadedTask>();
  task->config = config_.tasks[index];
  const TaskConfig& config = task->config;
  task->header.name = config.full_name();
  task->header.kind = config.kind;
  task->header.language = config.language;
  task->header.bootstrap = config_.bootstrap();
  task->header.dtype = config_.dtype;
  task->header.limit = config.limit;
  run_agreed(comm_, [&] {
    std::vector<std::string_view> parts;
    if (is_bpb(config)) {
      task->header.prefix = config.rules.prefix.value_or("auto");
      task->header.prefix_each_window = config.prefix_each_window;
      task->header.lines = config.lines;
      task->header.max_characters = config.max_characters;
      task->documents = loader_(config);
      task->header.original = {
          {task->header.name, static_cast<std::int64_t>(task->documents.size())}};
      if (config.limit && static_cast<std::int64_t>(task->documents.size()) > *config.limit) {
        task->documents.resize(static_cast<std::size_t>(*config.limit));
      }
      GM_CHECK(!task->documents.empty(), kCorrupt, "task '", task->header.name,
               "': there are no documents in ", config.path.front());
      for (Document& document : task->documents) {
        if (config.max_characters) {
          document.text = std::string(first_characters(document.text, *config.max_characters));
        }
        parts.insert(parts.end(), {document.id, document.text});
      }
      task->header.data_hash = data_hash(parts);
      return;
    }
    const std::filesystem::path path = config.path.front();
    if (config.kind == "blimp") {
      task->pairs = load_blimp(path, config.limit);
    } else if (config.kind == "multiblimp") {
      task->pairs = load_multiblimp(path, config.limit);
    } else {
      task->pairs =
          load_pairs({config.path.begin(), config.path.end()}, config.columns, config.limit);
    }
    task->pairs.name = task->header.name;
    task->header.macro = task->pairs.macro;
    task->header.rules = resolve_rules(config.preset, config.kind, config.rules);
    task->header.preset = config.preset;
    task->header.columns = config.columns;
    for (const auto& [paradigm, count] : task->pairs.available) {
      task->header.original[paradigm.empty() ? task->header.name : paradigm] = count;
    }
    for (const PairItem& item : task->pairs.items) {
      parts.insert(parts.end(), {item.id, item.good, item.bad});
    }
    task->header.data_hash = data_hash(parts);
    if (config.kind == "blimp" && task->pairs.num_paradigms() != 67 && comm_.is_root()) {
      log_warning(
          concat(path.string(), ": ", task->pairs.num_paradigms(),
                 " paradigms, BLiMP has 67: the mean is not comparable with published ones"));
    }
    log_info(concat(task->header.name, ": ", task->pairs.items.size(), " pairs, ",
                    task->pairs.num_identical, " of them identical; preset ", config.preset, ": ",
                    rules_text(task->header.rules, config_.dtype)));
  });
  tasks_[index] = std::move(task);
  return *tasks_[index];
}

void Evaluator::encode(LoadedTask& task, const Tokenizer& tokenizer) {
  if (task.tokenizer_hash == tokenizer.hash() && !task.encoded.empty()) {
    return;
  }
  task.encoded = is_bpb(task.config)
                     ? encode_documents(task.documents, tokenizer, comm_)
                     : encode_pairs(task.pairs, task.header.rules.delimiter, tokenizer, comm_);
  task.tokenizer_hash = tokenizer.hash();
}

TaskItems Evaluator::score(LoadedTask& task, const Model& model, bool show_progress) {
  const std::int64_t longest = model.config.max_position_embeddings;
  const std::int64_t context = task.config.context == 0 ? longest : task.config.context;
  GM_CHECK(context <= longest, kInvalidArgument, "task '", task.header.name, "': context ", context,
           " exceeds the model's ", longest);
  const ScorerOptions options{.batch_tokens = config_.tokens_together(),
                              .title = task.header.name,
                              .show_progress = show_progress};
  TaskItems items;
  items.header = task.header;
  items.header.context = context;
  if (is_bpb(task.config)) {
    log_info(concat(task.header.name, ": ", task.documents.size(), " documents; ",
                    text_rules(task.config, context, config_.dtype)));
    const TextRules rules{.prefix = task.header.prefix,
                          .context = context,
                          .prefix_each_window = task.header.prefix_each_window};
    items.texts = score_documents(model, task.documents, task.encoded, rules, options, comm_);
  } else {
    items.pairs =
        score_pairs(model, task.pairs, task.encoded, task.header.rules, context, options, comm_);
  }
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
    std::int64_t files = 0;
    std::uintmax_t bytes = 0;
    for (const std::filesystem::path path : task.path) {
      GM_CHECK(std::filesystem::exists(path), kNotFound, "task '", task.full_name(),
               "': ", path.string(), ": no such file or folder");
      if (std::filesystem::is_regular_file(path)) {
        ++files;
        bytes += std::filesystem::file_size(path);
        continue;
      }
      for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        const std::string extension = entry.path().extension().string();
        if (entry.is_regular_file() &&
            (is_bpb(task) || extension == ".jsonl" || extension == ".tsv")) {
          ++files;
          bytes += entry.file_size();
        }
      }
    }
    text +=
        concat(task.full_name(), ": ", task.kind, ", reads ", files, " files, ", bytes, " bytes");
    if (task.limit) {
      text += concat(", first ", *task.limit, is_bpb(task) ? " documents" : " items of each");
    }
    text +=
        is_bpb(task)
            ? concat("; ", text_rules(task, task.context, config.dtype))
            : concat("; preset ", task.preset, ": ",
                     rules_text(resolve_rules(task.preset, task.kind, task.rules), config.dtype));
    text += "\n";
  }
  return text;
}

std::string format_results(const Results& results) {
  std::string text;
  for (std::size_t i = 0; i < results.tasks.size(); ++i) {
    const TaskSummary& task = results.tasks[i];
    const bool bpb = results.headers[i].kind == "bpb";
    const std::string metric = bpb ? "bits_per_byte" : "acc";
    char line[256];
    std::snprintf(line, sizeof line, "%-28s %-14s %8.4f", task.name.c_str(), metric.c_str(),
                  task.metric(metric));
    text += line;
    if (!bpb || task.num_items > 1) {  // one document alone is drawn again and again
      std::snprintf(line, sizeof line, "  [%.4f, %.4f]", task.metric(metric + "_ci_low"),
                    task.metric(metric + "_ci_high"));
      text += line;
    }
    text += concat("  n ", task.num_items);
    if (!bpb) {
      text += concat(", ties ", static_cast<std::int64_t>(task.metric("ties")));
    }
    text += "\n";
  }
  return text;
}

}  // namespace growmerge::eval
