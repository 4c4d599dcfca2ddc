// Two models on the same items: the difference, how sure it is, and what was kept, lost and gained.
//
// Everything is paired: one set of resampled indices serves both models. Units that are resampled:
// documents for bits per byte, clusters (verb forms, source sentences) for accuracy, paradigms and
// then their items for BLiMP. A difference whose interval contains 0 is called not separable; that
// is no evidence of equality, for which `equivalence_margin` is there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/items.h"
#include "eval/results.h"
#include "eval/statistics.h"

namespace growmerge::eval {

/// b - a of one metric over one task (or one phenomenon of it). Accuracies are fractions.
struct Comparison {
  std::string task;
  std::string part;      // phenomenon; empty for the whole task
  std::string language;  // label of the task
  std::string metric;    // "acc" or "bits_per_byte"
  std::int64_t num_items = 0;
  double a = 0.0;
  double b = 0.0;
  double difference = 0.0;
  Interval interval;  // of the difference
  /// Smallest margin within which equivalence is claimed at 5 % (two one-sided tests).
  double equivalence_margin = 0.0;
  /// What was resampled: documents, clusters, or the items of all paradigms. Fewer than
  /// kFewestUnits say nothing of how others would turn out, so nothing is separable then.
  std::int64_t num_units = 0;
  static constexpr std::int64_t kFewestUnits = 10;
  bool separable = false;  // enough units, and the interval does not contain 0
  bool b_better = false;   // the sign alone: higher accuracy, lower bits per byte

  // Of accuracy alone. Right under a and b: retained; lost: only a; gained: only b.
  std::int64_t retained = 0;
  std::int64_t lost = 0;
  std::int64_t gained = 0;
  std::int64_t neither = 0;
  McNemar mcnemar;      // of lost against gained
  double holm_p = 1.0;  // mid-p adjusted over the task's phenomena (parts only)
  /// Mean change of log p(right) - log p(likeliest other), nats; over paradigms for BLiMP, as
  /// accuracies.
  double margin_difference = 0.0;
  Interval margin_interval;  // bootstrap over clusters (paradigms for BLiMP)

  /// Fills in what follows from `a`, `b` and a bootstrap of their difference over so many units.
  void conclude(const BootstrapResult& bootstrap, std::size_t num_resampled, bool higher_is_better);
  /// `if_b`, `if_a` (which is better) or "not separable", with the reason where units are few.
  [[nodiscard]] std::string verdict(const char* if_b = "b better",
                                    const char* if_a = "a better") const;
};

/// The whole task first, then its phenomena (accuracy). Errors: kMismatch when the two were not
/// scored on the same items under the same rules (names what differs).
[[nodiscard]] std::vector<Comparison> compare_items(const TaskItems& a, const TaskItems& b,
                                                    const BootstrapOptions& options);

struct ComparisonTable {
  std::string model_a;
  std::string model_b;
  std::vector<Comparison> rows;
  std::vector<std::string> left_out;  // tasks that only one of the two has
};

/// All tasks that both result directories hold. Errors: as compare_items and read_items.
[[nodiscard]] ComparisonTable compare_results(const std::filesystem::path& dir_a,
                                              const std::filesystem::path& dir_b,
                                              const BootstrapOptions& options);
/// Written as one JSON object, for reports and scripts.
[[nodiscard]] std::string comparison_json(const ComparisonTable& table);

}  // namespace growmerge::eval
