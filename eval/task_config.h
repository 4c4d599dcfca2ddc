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
  std::optional<std::int64_t> limit;
  bool lines = false;
  std::optional<std::int64_t> max_characters;
  std::int64_t context = 0;
  bool prefix_each_window = false;

  void describe(FieldVisitor& v) {
    v("name", name, "", "name of the task in results (default: kind, or kind_language)");
    v("kind", kind, "", kind_help());
    v("path", path, "", "file or folder; several for pairs and bpb", v.kInput);
    v("language", language, "", "label of the language, for tables");
    v("preset", preset, "", "scoring rules of pairs: original or lm-eval");
    v("rules", rules, "", "changes to the preset's rules (bpb: only prefix)");
    v("columns", columns, "", "columns of a file of pairs");
    v("limit", limit, "items", "first items of each paradigm or file, or first documents");
    v("lines", lines, "", "bpb: each line of a .txt file is a document, not the file");
    v("max_characters", max_characters, "characters", "bpb: documents are cut behind this length");
    v("context", context, "tokens", "window length (0: the model's context length)");
    v("prefix_each_window", prefix_each_window, "",
      "bpb: whether later windows of a document begin with the prefix, too");
  }
  [[nodiscard]] std::string full_name() const;
  /// Errors: kInvalidArgument naming the task and the setting.
  void validate() const;
};

/// Reads the documents of a task of running text (its path, limit and max_characters are applied by
/// the evaluator). Called on every rank; not collective.
using TextLoader = std::function<std::vector<Document>(const TaskConfig&)>;

/// The settings that are the kind's own, as a JSON object: for the record in results.
[[nodiscard]] std::string kind_settings(const TaskConfig& task);

}  // namespace growmerge::eval
