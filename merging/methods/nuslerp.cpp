#include "merging/methods/nuslerp.h"

#include <algorithm>
#include <cmath>

#include "merging/deltas/gram.h"

namespace growmerge::merging {
namespace {

/// How much of both goes into the result, where their norms and product are these.
std::pair<double, double> shares(double norm_1, double norm_2, double product, double t) {
  constexpr double kSmallNorm = 1e-7;
  // Of a square of a sine. Closer to opposite, the angle is the inputs' rounding and the factors of
  // an arc grow without bound; closer to equal, the arc is the line.
  constexpr double kColinear = 1e-12;
  const double cosine = std::clamp(
      product / (std::max(norm_1, kSmallNorm) * std::max(norm_2, kSmallNorm)), -1.0, 1.0);
  if (1.0 - cosine * cosine <= kColinear) {
    return {1.0 - t, t};
  }
  const double omega = std::acos(cosine);
  return {std::sin((1.0 - t) * omega) / std::sin(omega), std::sin(t * omega) / std::sin(omega)};
}

Combination combination_of(const TensorTask& task, const Gram& gram, double t) {
  const auto [a, b] = shares(gram.norm(0), gram.norm(1), gram.at(0, 1), t);
  return {.models = {a, b}, .base = task.has_base ? 1.0 : 0.0};
}

/// Columns [begin, begin + count) of both vectors in a row.
void load_columns(const TensorTask& task, std::int64_t at, std::int64_t count, float* a, float* b,
                  float* base) {
  task.inputs[0].weights.load(at, count, a);
  task.inputs[1].weights.load(at, count, b);
  if (task.has_base) {
    task.base.load(at, count, base);
    for (std::int64_t i = 0; i < count; ++i) {
      a[i] -= base[i];
      b[i] -= base[i];
    }
  }
}

/// Shares of each column: the first dimension is summed over, row after row.
std::vector<std::pair<double, double>> shares_of_columns(const TensorTask& task, double t) {
  constexpr std::int64_t kColumns = 512;  // of a thread at a time
  const std::int64_t columns = row_length(task);
  std::vector<std::pair<double, double>> out(static_cast<std::size_t>(columns));
  for_each_in_parallel((columns + kColumns - 1) / kColumns, [&](std::int64_t group) {
    const std::int64_t first = group * kColumns;
    const std::int64_t count = std::min(kColumns, columns - first);
    double squares_1[kColumns] = {};
    double squares_2[kColumns] = {};
    double products[kColumns] = {};
    float a[kColumns];
    float b[kColumns];
    float base[kColumns];
    for (std::int64_t row = 0; row < task.num_elements; row += columns) {
      load_columns(task, row + first, count, a, b, base);
      for (std::int64_t i = 0; i < count; ++i) {
        squares_1[i] += static_cast<double>(a[i]) * static_cast<double>(a[i]);
        squares_2[i] += static_cast<double>(b[i]) * static_cast<double>(b[i]);
        products[i] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      out[static_cast<std::size_t>(first + i)] =
          shares(std::sqrt(squares_1[i]), std::sqrt(squares_2[i]), products[i], t);
    }
  });
  return out;
}

void merge_by_columns(const TensorTask& task, double t) {
  const std::int64_t columns = row_length(task);
  const std::vector<std::pair<double, double>> columns_shares = shares_of_columns(task, t);
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* out = tile_scratch(4);
    float* x = out + kTileElements;
    float* y = x + kTileElements;
    float* origin = y + kTileElements;
    task.inputs[0].weights.load(offset, count, x);
    task.inputs[1].weights.load(offset, count, y);
    std::fill_n(origin, count, 0.0F);
    if (task.has_base) {
      task.base.load(offset, count, origin);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const auto& [p, q] = columns_shares[static_cast<std::size_t>((offset + i) % columns)];
      out[i] = static_cast<float>(origin[i] + p * static_cast<double>(x[i] - origin[i]) +
                                  q * static_cast<double>(y[i] - origin[i]));
    }
    return out;
  });
}

}  // namespace

void nuslerp_merge(const TensorTask& task) {
  constexpr double kSmallSum = 1e-6;
  const double first = task.inputs[0].arguments.number(kWeight);
  const double second = task.inputs[1].arguments.number(kWeight);
  const double t = std::abs(first + second) < kSmallSum ? 0.5 : second / (first + second);
  if (task.arguments.flag(kNuslerpFlatten)) {
    write_combination(task, combination_of(task, gram_of(task, true), t), true);
    return;
  }
  if (task.arguments.flag(kNuslerpRowWise) && task.shape.size() > 1) {
    merge_by_columns(task, t);
    return;
  }
  std::vector<Combination> rows;
  for (const Gram& gram : grams_of_rows(task, true)) {
    rows.push_back(combination_of(task, gram, t));
  }
  write_row_combinations(task, rows, true);
}

}  // namespace growmerge::merging
