// What a user says of one task. One struct serves all kinds; which of its members a kind takes
// stands in the table of kinds (eval/tasks/kind.h), and any other is refused.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "eval/scoring_rules.h"
#include "eval/task.h"

namespace growmerge::eval {

/// Columns of a pair file. An absent optional column is left empty.
struct PairColumns {
  std::string good = "sentence_good";
  std::string bad = "sentence_bad";
  std::string id;          // default: the row number
  std::string phenomenon;  // default: "phenomenon" where there is one
  std::string cluster;     // default: the good sentence

  void describe(FieldVisitor& v) {
    v("good", good, "", "column of the acceptable sentence");
    v("bad", bad, "", "column of the unacceptable sentence");
    v("id", id, "", "column that names the item (default: the row number)");
    v("phenomenon", phenomenon, "", "column to report by (default: phenomenon, where it is there)");
    v("cluster", cluster, "",
      "column of the cluster for standard errors (default: the good sentence)");
  }
};

/// How rows become questions (eval/tasks/choice.h, eval/template.h).
struct ChoiceConfig {
  std::string layout;
  std::optional<std::string> context;
  std::vector<std::string> choices;
  std::string choices_from;
  std::string gold;
  std::int64_t first_gold = 0;
  std::string clean;
  std::string cluster;
  std::int64_t shots = 0;
  std::string shots_from;
  std::string sampler = "first";
  std::int64_t shots_seed = 0;
  std::string shots_delimiter = "\n\n";

  void describe(FieldVisitor& v) {
    v("layout", layout, "", "templates that come with it: belebele, xcopa or hellaswag; or none");
    v("context", context, "", "template of what stands in front of every choice");
    v("choices", choices, "", "templates of the choices");
    v("choices_from", choices_from, "",
      "column that holds the list of choices, instead of templates");
    v("gold", gold, "", "template of the number of the right choice");
    v("first_gold", first_gold, "", "the number of the first choice in `gold`: 0 or 1");
    v("clean", clean, "", "wikihow: what lm-eval does to HellaSwag's texts");
    v("cluster", cluster, "", "column whose equal texts are one cluster for standard errors");
    v("shots", shots, "examples", "answered examples in front of each context");
    v("shots_from", shots_from, "", "file of the examples (default: the task's own)", v.kInput);
    v("sampler", sampler, "", "first rows of the file, or random ones, others for each item");
    v("shots_seed", shots_seed, "", "of the random sampler");
    v("shots_delimiter", shots_delimiter, "", "text behind each example");
  }
};

/// Which facts are asked, and how (eval/tasks/recall.h).
struct RecallConfig {
  std::string candidates = "all";
  std::string patterns = "all";
  std::int64_t seed = 0;

  void describe(FieldVisitor& v) {
    v("candidates", candidates, "",
      "all objects of the relation, or pair: the true one and a false one");
    v("patterns", patterns, "", "all sentences of a relation, or its first");
    v("seed", seed, "", "of the false objects");
  }
};

/// The kinds there are, each with its line of the table.
[[nodiscard]] const char* kind_help();

struct TaskConfig {
  std::string name;               // default: kind, or kind_language
  std::string kind = "pairs";     // a name of the table of kinds
  std::vector<std::string> path;  // BLiMP: one folder; MultiBLiMP: one language; else files
  std::string language;
  std::string preset = "original";  // original | lm-eval
  RuleChanges rules;
  PairColumns columns;
  ChoiceConfig choice;
  RecallConfig recall;
  std::optional<bool> quoted;
  std::optional<std::int64_t> limit;
  bool lines = false;
  std::optional<std::int64_t> max_characters;
  std::int64_t context = 0;
  std::string stride = "half";
  std::string overlong = "windows";
  bool prefix_each_window = false;

  /// Whether fields of .tsv files may stand in quotes.
  [[nodiscard]] bool reads_quotes() const;
  /// Whether it is read as it was when all .tsv files were taken to be quoted.
  [[nodiscard]] bool reads_as_if_quoted() const;

  void describe(FieldVisitor& v) {
    v("name", name, "", "name of the task in results (default: kind, or kind_language)");
    v("kind", kind, "", kind_help());
    v("path", path, "", "file or folder; several for pairs, choice and bpb", v.kInput);
    v("language", language, "", "label of the language, for tables");
    v("preset", preset, "", "scoring rules of all kinds but bpb: original or lm-eval");
    v("rules", rules, "", "changes to the preset's rules (bpb: only prefix)");
    v("columns", columns, "", "columns of a file of pairs");
    v("choice", choice, "", "of kind choice: how rows become questions");
    v("recall", recall, "", "of kind recall: which facts are asked");
    v.added(
        "quoted", quoted, reads_as_if_quoted() ? quoted : std::optional(true), "",
        "whether fields of .tsv files may stand in double quotes, with tabs and newlines inside "
        "(default: of multiblimp, which is published so, and of choice, whose lists need them; "
        "else a "
        "quote is a character)");
    v("limit", limit, "items", "first items of each paradigm or file, or first documents");
    v("lines", lines, "", "bpb: each line of a .txt file is a document, not the file");
    v("max_characters", max_characters, "characters", "bpb: documents are cut behind this length");
    v("context", context, "tokens", "window length (0: the model's context length)");
    v.added("stride", stride, "half", "",
            "bpb: by how much windows of a document move: half of a window, disjoint (as lm-eval), "
            "or a number of tokens");
    v.added("overlong", overlong, "windows", "",
            "bpb: documents longer than a window are cut into windows, or an error");
    v("prefix_each_window", prefix_each_window, "",
      "bpb: whether later windows of a document begin with the prefix, too");
  }
  [[nodiscard]] std::string full_name() const;
  /// Everything that is read: `path`, then what else the settings name.
  [[nodiscard]] std::vector<std::string> inputs() const;
  /// Errors: kInvalidArgument naming the task and the setting.
  void validate() const;
};

/// Reads the documents of a task of running text (its path, limit and max_characters are applied by
/// the evaluator). Called on every rank; not collective.
using TextLoader = std::function<std::vector<Document>(const TaskConfig&)>;

/// The settings that are the kind's own, as a JSON object: for the record in results.
[[nodiscard]] std::string kind_settings(const TaskConfig& task);

}  // namespace growmerge::eval
