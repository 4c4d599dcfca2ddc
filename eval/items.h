// What is kept of every evaluated item: one JSON object a line, enough to recompute every figure.
//
// Format: docs/formats/results.md. Numbers are written so that reading gives the same float64 bits.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/pair_rules.h"
#include "eval/pair_task.h"
#include "eval/statistics.h"

namespace growmerge::eval {

/// A minimal pair; index 0 is the good sentence, 1 the bad one.
struct PairRecord {
  std::string id;
  std::string paradigm;
  std::string phenomenon;
  std::string cluster;
  std::array<double, 2> log_prob{};          // sum over scored tokens, nats
  std::array<std::int64_t, 2> tokens{};      // scored
  std::array<std::int64_t, 2> characters{};  // code points of the sentence, delimiter not counted
  std::array<std::int64_t, 2> bytes{};       // UTF-8
  bool correct = false;                      // the decision under the task's rules
  bool tie = false;                          // equal scores under the task's normalisation
  bool windowed = false;                     // a sentence was longer than the context

  bool operator==(const PairRecord&) const = default;
};

/// A document of running text.
struct TextRecord {
  std::string id;
  double nll = 0.0;  // negative log-likelihood of its tokens, nats
  std::int64_t tokens = 0;
  std::int64_t characters = 0;
  std::int64_t words = 0;
  std::int64_t bytes = 0;
  std::int64_t windows = 0;

  bool operator==(const TextRecord&) const = default;
};

/// What the items were scored under; the first line of the file.
struct TaskHeader {
  static constexpr int kVersion = 1;
  std::string name;
  std::string kind;          // blimp | multiblimp | pairs | bpb
  std::string language;      // a label; may be empty
  bool macro = false;        // the score is the mean over paradigms
  PairRules rules;           // of pairs
  std::string prefix;        // of texts: the setting
  std::int64_t context = 0;  // tokens
  bool prefix_each_window = false;
  std::string data_hash;  // of ids and texts, in order: equal hashes mean the same items
  BootstrapOptions bootstrap;

  // What chose the items, for the record. Items of an older program name none of it.
  std::string dtype;    // of weights and products
  std::string preset;   // of pairs
  PairColumns columns;  // of kind pairs
  bool lines = false;   // of texts
  std::optional<std::int64_t> limit;
  std::optional<std::int64_t> max_characters;  // of texts
  /// Items there are without a limit: by paradigm where the score is the mean over paradigms, else
  /// one number under the task's name.
  std::map<std::string, std::int64_t> original;
};

/// One task's items: one of the two is empty.
struct TaskItems {
  TaskHeader header;
  std::vector<PairRecord> pairs;
  std::vector<TextRecord> texts;
};

/// Writes header and items atomically. Errors: kIo.
void write_items(const std::filesystem::path& path, const TaskItems& items);
/// Errors: kNotFound; kCorrupt with file:line (broken JSON, missing or non-finite members, unknown
/// kind or format version, no header).
[[nodiscard]] TaskItems read_items(const std::filesystem::path& path);

}  // namespace growmerge::eval
