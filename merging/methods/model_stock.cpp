#include "merging/methods/model_stock.h"

#include <algorithm>
#include <cmath>

#include "merging/deltas/gram.h"

namespace growmerge::merging {
namespace {

Combination combination_of(const Gram& gram) {
  constexpr double kSmallest = 1e-6;
  const std::size_t size = gram.size();
  double cosines = 0.0;
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      cosines +=
          std::clamp(gram.at(i, j) / std::max(gram.norm(i) * gram.norm(j), kSmallest), -1.0, 1.0);
    }
  }
  const auto count = static_cast<double>(size);
  const double mean = cosines / (count * (count - 1.0) / 2.0);
  const double divisor = 1.0 + (count - 1.0) * mean;
  const double t = std::abs(divisor) < kSmallest ? 0.0 : count * mean / divisor;
  return {.models = std::vector<double>(size, t / count), .base = 1.0};
}

}  // namespace

void model_stock_merge(const TensorTask& task) {
  if (!task.arguments.flag(kFilterWise)) {
    write_combination(task, combination_of(gram_of(task, true)), true);
    return;
  }
  std::vector<Combination> rows;
  for (const Gram& gram : grams_of_rows(task, true)) {
    rows.push_back(combination_of(gram));
  }
  write_row_combinations(task, rows, true);
}

}  // namespace growmerge::merging
