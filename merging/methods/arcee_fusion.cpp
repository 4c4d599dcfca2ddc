#include "merging/methods/arcee_fusion.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "merging/deltas/gram.h"
#include "merging/deltas/magnitude_select.h"

namespace growmerge::merging {
namespace {

/// exp(x - max) over their sum, plus 1e-8.
void to_probabilities(const std::vector<float>& row, std::vector<double>& out) {
  const double high = *std::max_element(row.begin(), row.end());
  double sum = 0.0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    out[i] = std::exp(row[i] - high);
    sum += out[i];
  }
  for (double& p : out) {
    p = p / sum + 1e-8;
  }
}

/// KL divergence of each row.
std::vector<float> divergences(const TensorTask& task, std::int64_t length) {
  const std::int64_t rows = task.num_elements / length;
  std::vector<float> out(static_cast<std::size_t>(rows));
  for_each_in_parallel(rows, [&](std::int64_t row) {
    std::vector<float> x(static_cast<std::size_t>(length));
    std::vector<double> p(x.size());
    std::vector<double> q(x.size());
    task.inputs[0].weights.load(row * length, length, x.data());
    to_probabilities(x, p);
    task.base.load(row * length, length, x.data());
    to_probabilities(x, q);
    double sum = 0.0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      sum += p[i] * std::log(p[i] / q[i]);
    }
    // Never below 0 but for rounding.
    out[static_cast<std::size_t>(row)] = static_cast<float>(std::max(0.0, sum));
  });
  return out;
}

/// The importances that a share q of the entries do not exceed, for three q in one go.
std::array<float, 3> quartiles(const TensorTask& task, const TileSource& importance) {
  const auto last = static_cast<double>(task.num_elements - 1);
  if (task.num_elements <= kTileElements) {
    std::vector<float> all(static_cast<std::size_t>(task.num_elements));
    importance.load(0, task.num_elements, all.data());
    std::sort(all.begin(), all.end());
    const auto at = [&](double q) { return all[static_cast<std::size_t>(q * last)]; };
    return {at(0.25), at(0.5), at(0.75)};
  }
  const TileSource* sources[] = {&importance, &importance, &importance};
  std::array<std::int64_t, 3> counts{};
  for (std::size_t i = 0; i < counts.size(); ++i) {
    // The k-th smallest is the (n - k + 1)-th largest.
    counts[i] =
        task.num_elements - static_cast<std::int64_t>(0.25 * static_cast<double>(i + 1) * last);
  }
  TileSource zeros;
  zeros.compute = [](std::int64_t, std::int64_t count, float* out) {
    std::fill_n(out, count, 0.0F);
  };
  const auto cuts = select_largest(task.num_elements, zeros, sources, counts);
  std::array<float, 3> out{};
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = std::bit_cast<float>(cuts[i].threshold);
  }
  return out;
}

}  // namespace

void arcee_fusion_merge(const TensorTask& task) {
  const std::int64_t length = row_length(task);
  const std::vector<float> kl = divergences(task, length);
  TileSource importance;
  importance.label = "the importance of tensor '" + task.name + "'";
  importance.compute = [&](std::int64_t offset, std::int64_t count, float* out) {
    thread_local std::vector<float> base;
    base.resize(static_cast<std::size_t>(count));
    task.inputs[0].weights.load(offset, count, out);
    task.base.load(offset, count, base.data());
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = std::fabs(out[i] - base[static_cast<std::size_t>(i)]) *
               kl[static_cast<std::size_t>((offset + i) / length)];
    }
  };
  const std::array<float, 3> q = quartiles(task, importance);
  const float threshold = q[1] + 1.5F * (q[2] - q[0]);
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* out = tile_scratch(3);
    float* x = out + kTileElements;
    float* scores = x + kTileElements;
    task.base.load(offset, count, out);
    task.inputs[0].weights.load(offset, count, x);
    importance.load(offset, count, scores);
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] += scores[i] >= threshold ? x[i] - out[i] : 0.0F;
    }
    return out;
  });
}

}  // namespace growmerge::merging
