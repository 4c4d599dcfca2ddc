#include "merging/methods/sce.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "merging/deltas/magnitude_select.h"

namespace growmerge::merging {
namespace {

/// The models' differences of a run of elements, one row of `count` behind the other.
void load_deltas(const TensorTask& task, std::int64_t offset, std::int64_t count,
                 std::vector<float>& base, std::vector<float>& deltas) {
  base.resize(static_cast<std::size_t>(count));
  deltas.resize(task.inputs.size() * static_cast<std::size_t>(count));
  task.base.load(offset, count, base.data());
  for (std::size_t m = 0; m < task.inputs.size(); ++m) {
    float* row = deltas.data() + static_cast<std::int64_t>(m) * count;
    task.inputs[m].weights.load(offset, count, row);
    for (std::int64_t i = 0; i < count; ++i) {
      row[i] -= base[static_cast<std::size_t>(i)];
    }
  }
}

/// Population variance over the models.
float variance(const float* deltas, std::size_t num_models, std::int64_t count, std::int64_t i) {
  double sum = 0.0;
  for (std::size_t m = 0; m < num_models; ++m) {
    sum += static_cast<double>(deltas[static_cast<std::int64_t>(m) * count + i]);
  }
  const double mean = sum / static_cast<double>(num_models);
  double squares = 0.0;
  for (std::size_t m = 0; m < num_models; ++m) {
    const double off = static_cast<double>(deltas[static_cast<std::int64_t>(m) * count + i]) - mean;
    squares += off * off;
  }
  return static_cast<float>(squares / static_cast<double>(num_models));
}

/// The variances as a tensor of their own, so that what selects magnitudes selects these.
TileSource variances_of(const TensorTask& task) {
  TileSource out;
  out.label = "the variance of tensor '" + task.name + "'";
  out.compute = [&task](std::int64_t offset, std::int64_t count, float* to) {
    thread_local std::vector<float> base;
    thread_local std::vector<float> deltas;
    load_deltas(task, offset, count, base, deltas);
    for (std::int64_t i = 0; i < count; ++i) {
      to[i] = variance(deltas.data(), task.inputs.size(), count, i);
    }
  };
  return out;
}

TileSource zeros() {
  TileSource out;
  out.compute = [](std::int64_t, std::int64_t count, float* to) { std::fill_n(to, count, 0.0F); };
  return out;
}

/// Which entries are kept; all where nothing is selected.
MagnitudeCut selected_entries(const TensorTask& task, const TileSource& variances) {
  const double share = task.arguments.number(kSelectTopK);
  MagnitudeCut out;
  out.keep_all = share >= 1.0;
  out.keep_none = share <= 0.0;
  if (out.keep_all || out.keep_none) {
    return out;
  }
  std::vector<std::int64_t> varying(static_cast<std::size_t>(num_tiles(task.num_elements)), 0);
  for_each_tile(task.num_elements, [&](std::int64_t tile, std::int64_t offset, std::int64_t count) {
    thread_local std::vector<float> values;
    values.resize(static_cast<std::size_t>(count));
    variances.load(offset, count, values.data());
    varying[static_cast<std::size_t>(tile)] =
        count - std::count(values.begin(), values.end(), 0.0F);
  });
  std::int64_t total = 0;
  for (const std::int64_t count : varying) {
    total += count;
  }
  const TileSource* source = &variances;
  const auto wanted = static_cast<std::int64_t>(share * static_cast<double>(total));
  return select_largest(task.num_elements, zeros(), {&source, 1}, {&wanted, 1}).front();
}

/// Sets to zero what is not selected; tiles whole, as `cut` counts in them.
void erase_unselected(const MagnitudeCut& selected, std::int64_t tile, std::size_t num_models,
                      std::int64_t count, std::vector<float>& deltas) {
  if (selected.keep_all) {
    return;
  }
  TileCut cut = cut_of_tile(selected, tile);
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = variance(deltas.data(), num_models, count, i);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    const bool is_kept = survives(cut, bits);
    for (std::size_t m = 0; m < num_models && !is_kept; ++m) {
      deltas[m * static_cast<std::size_t>(count) + static_cast<std::size_t>(i)] = 0.0F;
    }
  }
}

/// Shares of the models in the sum of mean squares, added tile by tile in order.
std::vector<float> shares_of(const TensorTask& task, const MagnitudeCut& selected) {
  constexpr double kSmallSum = 1e-6;
  const std::size_t size = task.inputs.size();
  std::vector<double> squares(size * static_cast<std::size_t>(num_tiles(task.num_elements)), 0.0);
  for_each_tile(task.num_elements, [&](std::int64_t tile, std::int64_t offset, std::int64_t count) {
    thread_local std::vector<float> base;
    thread_local std::vector<float> deltas;
    load_deltas(task, offset, count, base, deltas);
    erase_unselected(selected, tile, size, count, deltas);
    for (std::size_t m = 0; m < size; ++m) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < count; ++i) {
        const double x = deltas[m * static_cast<std::size_t>(count) + static_cast<std::size_t>(i)];
        sum += x * x;
      }
      squares[static_cast<std::size_t>(tile) * size + m] = sum;
    }
  });
  std::vector<double> means(size, 0.0);
  for (std::size_t i = 0; i < squares.size(); ++i) {
    means[i % size] += squares[i] / static_cast<double>(task.num_elements);
  }
  double total = 0.0;
  for (const double mean : means) {
    total += mean;
  }
  std::vector<float> out;
  for (const double mean : means) {
    out.push_back(
        static_cast<float>(total < kSmallSum ? 1.0 / static_cast<double>(size) : mean / total));
  }
  return out;
}

}  // namespace

void sce_merge(const TensorTask& task) {
  constexpr float kSmallest = 1e-6F;
  const std::size_t size = task.inputs.size();
  const TileSource variances = variances_of(task);
  const MagnitudeCut selected = selected_entries(task, variances);
  const std::vector<float> shares = shares_of(task, selected);
  for_each_output_tile(task, [&](std::int64_t tile, std::int64_t offset, std::int64_t count) {
    thread_local std::vector<float> base;
    thread_local std::vector<float> deltas;
    load_deltas(task, offset, count, base, deltas);
    erase_unselected(selected, tile, size, count, deltas);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = [&](std::size_t m) {
        return deltas[m * static_cast<std::size_t>(count) + static_cast<std::size_t>(i)];
      };
      float election = 0.0F;
      for (std::size_t m = 0; m < size; ++m) {
        election += at(m);
      }
      float sum = 0.0F;
      float divisor = 0.0F;
      for (std::size_t m = 0; m < size; ++m) {
        if (at(m) != 0.0F && (at(m) > 0.0F) == (election >= 0.0F)) {
          sum += at(m) * shares[m];
          divisor += shares[m];
        }
      }
      base[static_cast<std::size_t>(i)] += sum / std::max(divisor, kSmallest);
    }
    return base.data();
  });
}

}  // namespace growmerge::merging
