// What is kept of every evaluated item: one JSON object a line, enough to recompute every figure.
//
// Format: docs/formats/results.md. Numbers are written so that reading gives the same float64 bits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/scoring_rules.h"
#include "eval/statistics.h"

namespace growmerge::eval {

/// One evaluated item of any kind: k choices behind one context. A minimal pair has k = 2, the good
/// sentence first; running text has k = 1 and no right answer.
struct ItemRecord {
  std::string id{};
  std::string paradigm{};
  std::string phenomenon{};
  std::string cluster{};
  std::int64_t context_tokens = 0;         // before the choices, not scored; the prefix not counted
  std::vector<double> log_prob{};          // [k] sum over scored tokens, nats
  std::vector<std::int64_t> tokens{};      // [k] scored
  std::vector<std::int64_t> characters{};  // [k] code points of the choice, delimiter not counted
  std::vector<std::int64_t> bytes{};       // [k] UTF-8
  std::optional<std::int64_t> gold{};      // index of the right choice
  bool correct = false;                    // the decision under the task's rules
  bool tie = false;                        // a choice scores as the right one does, and none higher
  bool windowed = false;                   // a choice, with its context, was longer than the window

  // Of running text alone.
  std::int64_t words = 0;
  std::int64_t windows = 0;

  /// Negative log-likelihood of running text, nats.
  [[nodiscard]] double nll() const { return 0.0 - log_prob[0]; }  // 0 stays +0
  /// Log p of the right choice less that of the likeliest other, nats.
  [[nodiscard]] double margin() const;

  bool operator==(const ItemRecord&) const = default;
};

/// What the items were scored under; the first line of the file.
struct TaskHeader {
  static constexpr int kVersion = 2;
  std::string name;
  std::string kind;          // a name of the table of kinds
  std::string language;      // a label; may be empty
  bool macro = false;        // the score is the mean over paradigms
  ScoringRules rules;        // of running text, only the prefix counts
  std::int64_t context = 0;  // tokens
  std::string data_hash;     // of ids and texts, in order: equal hashes mean the same items
  BootstrapOptions bootstrap;

  // What chose the items, for the record. Items of an older program may name none of it.
  std::string dtype;  // of weights and products
  std::optional<std::int64_t> limit;
  /// Items there are without a limit: by paradigm where the score is the mean over paradigms, else
  /// one number under the task's name.
  std::map<std::string, std::int64_t> original;
  std::int64_t empty_documents = 0;  // of running text: left out
  std::string settings = "{}";       // those of the kind, a JSON object
  std::int64_t shots = 0;            // answered examples in front of each context
  std::string example;  // the first item's context, where it has one, as the model gets it

  /// One of `settings` as JSON text, empty where it is not there.
  [[nodiscard]] std::string setting(const std::string& key) const;
};

/// One task's items.
struct TaskItems {
  TaskHeader header;
  std::vector<ItemRecord> records;
};

/// Writes header and items atomically. Errors: kIo.
void write_items(const std::filesystem::path& path, const TaskItems& items);
/// Reads this format and the older one (eval/items_v1.h). Errors: kNotFound; kCorrupt with
/// file:line (broken JSON, missing or non-finite members, choices of unequal number, unknown kind
/// or format version, no header).
[[nodiscard]] TaskItems read_items(const std::filesystem::path& path);

}  // namespace growmerge::eval
