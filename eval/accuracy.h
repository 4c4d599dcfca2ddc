// Accuracies of items that are decided between choices, and their comparison between two models.
#pragma once

#include <span>
#include <vector>

#include "eval/compare.h"
#include "eval/items.h"
#include "eval/results.h"

namespace growmerge::eval {

/// All figures of TaskSummary that say acc, margin, ties and windowed; where the header says so,
/// the mean over paradigms, each weighing the same. Errors: kCorrupt when no item names one.
[[nodiscard]] TaskSummary summarise_accuracy(const TaskItems& items);
/// And mrr, the mean reciprocal rank of the right choice, and chance, the accuracy of guessing: for
/// items of more than two choices.
[[nodiscard]] TaskSummary summarise_ranking(const TaskItems& items);

/// The whole task, then its phenomena.
[[nodiscard]] std::vector<Comparison> compare_accuracy(const TaskItems& a, const TaskItems& b,
                                                       const BootstrapOptions& options);

}  // namespace growmerge::eval
