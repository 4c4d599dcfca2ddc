#include "eval/tasks/kind.h"

#include "core/base/error.h"
#include "eval/accuracy.h"
#include "eval/bits_per_byte.h"
#include "eval/choice_scorer.h"
#include "eval/tasks/blimp.h"
#include "eval/tasks/bpb.h"
#include "eval/tasks/choice.h"
#include "eval/tasks/multiblimp.h"
#include "eval/tasks/pairs.h"
#include "eval/tasks/recall.h"

namespace growmerge::eval {
namespace {

std::string plan_choices(const TaskConfig& config, const ScoringRules& rules, std::int64_t,
                         const std::string& dtype) {
  return concat("preset ", config.preset, ": prefix ", rules.prefix, ", delimiter '",
                rules.delimiter, "', tie ", rules.tie, ", first token ", rules.first_token, ", ",
                rules.normalisation, " of log p; ", dtype, " products, float32 log p");
}

/// Decided between texts, by the rules of the task.
const ScoringFamily kChoices = {
    .metric = "acc",
    .higher_is_better = true,
    .counts = {"ties"},
    .fewest_for_interval = 1,
    .plan = plan_choices,
    .encode = [](const Task& task, const ScoringRules& rules, const Tokenizer& tokenizer,
                 Communicator& comm) { return encode_choices(task, rules, tokenizer, comm); },
    .score =
        [](const Model& model, const Task& task, const EncodedTexts& encoded,
           const ScoringSetup& setup, Communicator& comm) {
          return score_choices(model, task, encoded, setup.rules, setup.context, setup.options,
                               comm);
        },
    // Clusters, paradigms and phenomena are the same for all of them.
    .summarise = summarise_accuracy,
    .compare = compare_accuracy,
};

/// The same, where the rank of the right choice among more than two says more.
const ScoringFamily kRanking = [] {
  ScoringFamily family = kChoices;
  family.summarise = summarise_ranking;
  return family;
}();

/// Running text.
const ScoringFamily kTexts = {
    .metric = "bits_per_byte",
    .higher_is_better = false,
    .counts = {},
    // One document alone is drawn again and again: its interval would be a point.
    .fewest_for_interval = 2,
    .plan = plan_texts,
    .encode = [](const Task& task, const ScoringRules&, const Tokenizer& tokenizer,
                 Communicator& comm) { return encode_texts(task.items, tokenizer, comm); },
    .score =
        [](const Model& model, const Task& task, const EncodedTexts& encoded,
           const ScoringSetup& setup, Communicator& comm) {
          const TextRules rules{.prefix = setup.rules.prefix,
                                .context = setup.context,
                                .stride = setup.config.stride,
                                .overlong = setup.config.overlong,
                                .prefix_each_window = setup.config.prefix_each_window};
          return score_texts(model, task.items, encoded, rules, setup.options, comm);
        },
    .summarise = summarise_texts,
    .compare = compare_texts,
};

/// The harness takes the first of equal scores, and the good sentence is the first.
ScoringRules first_wins(const char* delimiter) {
  ScoringRules rules;
  rules.tie = "right";
  rules.delimiter = delimiter;
  return rules;
}

/// Of choices behind a context. Of a context that is too long, the end is what the choices follow.
ScoringRules behind_context(const char* delimiter) {
  ScoringRules rules;
  rules.delimiter = delimiter;
  rules.overlong = "truncate";
  return rules;
}

/// The same as the harness does it: it adds no token that the tokenizer does not add.
ScoringRules behind_context_as_harness(const char* delimiter) {
  ScoringRules rules = behind_context(delimiter);
  rules.prefix = "tokenizer";
  rules.tie = "first";
  return rules;
}

// The table. A new kind is a row here.
const TaskKind kKinds[] = {
    {.name = "blimp",
     .doc = "BLiMP: a folder of one JSONL file per paradigm; the mean over paradigms",
     .items = "pairs",
     .options = {"preset", "rules"},
     .several_paths = false,
     .reads_text = false,
     .original = {},
     .lm_eval = first_wins(" "),
     .load = [](const TaskConfig& config,
                const TextLoader&) { return load_blimp(config.path.front(), config.limit); },
     .check = nullptr,
     .family = &kChoices},
    {.name = "multiblimp",
     .doc = "MultiBLiMP: the TSV of a language, or a folder of languages and the mean over them",
     .items = "pairs",
     .options = {"preset", "rules", "quoted"},
     .several_paths = false,
     .quoted = true,
     .reads_text = false,
     .original = {},
     .lm_eval = first_wins(""),
     .load =
         [](const TaskConfig& config, const TextLoader&) {
           return load_multiblimp(config.path.front(), config.limit, config.reads_quotes());
         },
     .check = nullptr,
     .family = &kChoices},
    {.name = "pairs",
     .doc = "minimal pairs of any JSONL or TSV files",
     .items = "pairs",
     .options = {"preset", "rules", "columns", "quoted"},
     .several_paths = true,
     .reads_text = false,
     .original = {},
     .lm_eval = first_wins(""),
     .load =
         [](const TaskConfig& config, const TextLoader&) {
           return load_pairs({config.path.begin(), config.path.end()}, config.columns, config.limit,
                             config.reads_quotes());
         },
     .check = nullptr,
     .family = &kChoices},
    {.name = "choice",
     .doc = "multiple choice: rows of any JSONL or TSV file, by templates; few-shot",
     .items = "questions",
     .options = {"preset", "rules", "choice"},
     .several_paths = true,
     .quoted = true,  // lists in a table are written in quotes
     .reads_text = false,
     .original = behind_context(" "),
     .lm_eval = behind_context_as_harness(" "),
     .load = load_choices,
     .check = check_choices,
     .family = &kRanking},
    {.name = "recall",
     .doc = "facts in mParaRel's layout: a folder of one language; the mean over relations",
     .items = "facts",
     .options = {"preset", "rules", "recall"},
     .several_paths = false,
     .reads_text = false,
     .original = behind_context(""),
     .lm_eval = behind_context_as_harness(""),
     .load = load_facts,
     .check = check_facts,
     .family = &kRanking},
    {.name = "bpb",
     .doc = "bits per byte of running text",
     .items = "documents",
     // Nothing is decided here, so that no other rule has a meaning.
     .options = {"rules.prefix", "lines", "max_characters", "stride", "prefix_each_window",
                 "overlong"},
     .several_paths = true,
     .reads_text = true,
     .original = {},
     .lm_eval = {},
     .load = load_texts,
     .check = check_texts,
     .family = &kTexts},
};

}  // namespace

bool TaskKind::takes(const std::string& option) const {
  // "rules.tie" is taken where all rules are.
  const std::string group = option.substr(0, option.find('.'));
  for (const char* known : options) {
    if (option == known || group == known) {
      return true;
    }
  }
  return false;
}

std::string TaskKind::rules_taken() const {
  std::string all;
  for (const std::string option : options) {
    if (option.starts_with("rules.")) {
      all += (all.empty() ? "" : ", ") + option.substr(6);
    }
  }
  return all;
}

std::span<const TaskKind> task_kinds() { return kKinds; }

const TaskKind& task_kind(const std::string& name) {
  std::string all;
  for (const TaskKind& row : kKinds) {
    if (name == row.name) {
      return row;
    }
    all += (all.empty() ? "" : ", ") + std::string(row.name);
  }
  fail(ErrorCode::kInvalidArgument, "kind is '", name, "', expected one of ", all);
}

const char* kind_help() {
  // Help texts are C strings; this one is made once and stays.
  static const std::string text = [] {
    std::string all;
    for (const TaskKind& row : kKinds) {
      all += (all.empty() ? "" : "; ") + concat(row.name, " (", row.doc, ")");
    }
    return all;
  }();
  return text.c_str();
}

std::string headline_metric(const TaskHeader& header) {
  return task_kind(header.kind).family->metric;
}

}  // namespace growmerge::eval
