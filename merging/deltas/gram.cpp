#include "merging/deltas/gram.h"

#include <algorithm>
#include <cmath>

#include "core/base/simd.h"
#include "merging/tile.h"

namespace growmerge::merging {
namespace {

constexpr std::int64_t kLanes = 8;

GM_SIMD double dot(const float* a, const float* b, std::int64_t count) {
  double sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
    }
  }
  for (; i < count; ++i) {
    sums[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  double total = 0.0;
  for (const double sum : sums) {
    total += sum;
  }
  return total;
}

GM_SIMD void subtract(const float* b, std::int64_t count, float* a) {
  for (std::int64_t i = 0; i < count; ++i) {
    a[i] -= b[i];
  }
}

GM_SIMD void add_scaled(const float* x, double scale, std::int64_t count, double* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    sum[i] += scale * static_cast<double>(x[i]);
  }
}

std::size_t num_vectors(const TensorTask& task, bool of_differences) {
  return task.inputs.size() + (task.has_base && !of_differences ? 1 : 0);
}

/// Elements [offset, offset + count) of all vectors, one kBlockElements behind the other.
void load_vectors(const TensorTask& task, bool of_differences, std::int64_t offset,
                  std::int64_t count, float* vectors) {
  float* base = vectors + static_cast<std::int64_t>(task.inputs.size()) * kBlockElements;
  if (task.has_base) {
    task.base.load(offset, count, base);
  }
  for (std::size_t m = 0; m < task.inputs.size(); ++m) {
    float* x = vectors + static_cast<std::int64_t>(m) * kBlockElements;
    task.inputs[m].weights.load(offset, count, x);
    if (task.has_base && of_differences) {
      subtract(base, count, x);
    }
  }
}

/// Scratch for so many blocks of float32, and one of float64 in front of them.
float* block_scratch(std::size_t blocks) {
  const std::size_t elements = (blocks + 2) * static_cast<std::size_t>(kBlockElements);
  return tile_scratch(2 + elements / static_cast<std::size_t>(kTileElements));
}

/// Adds the products of elements [begin, end) to `gram`, block by block.
void add_products(const TensorTask& task, bool of_differences, std::int64_t begin, std::int64_t end,
                  Gram& gram) {
  float* vectors = block_scratch(task.inputs.size() + 1);
  for (std::int64_t at = begin; at < end; at += kBlockElements) {
    const std::int64_t count = std::min(kBlockElements, end - at);
    load_vectors(task, of_differences, at, count, vectors);
    for (std::size_t i = 0; i < gram.size(); ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        gram.at(i, j) += dot(vectors + static_cast<std::int64_t>(i) * kBlockElements,
                             vectors + static_cast<std::int64_t>(j) * kBlockElements, count);
      }
    }
  }
}

void mirror(Gram& gram) {
  for (std::size_t i = 0; i < gram.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      gram.at(j, i) = gram.at(i, j);
    }
  }
}

/// Elements [begin, begin + count) of a combination, at most a block.
void combine(const TensorTask& task, const Combination& combination, bool of_differences,
             std::int64_t begin, std::int64_t count, float* out) {
  float* scratch = block_scratch(task.inputs.size() + 3);
  auto* sum = reinterpret_cast<double*>(scratch);
  float* vectors = scratch + 2 * kBlockElements;
  load_vectors(task, of_differences, begin, count, vectors);
  std::fill_n(sum, count, 0.0);
  for (std::size_t m = 0; m < combination.models.size(); ++m) {
    add_scaled(vectors + static_cast<std::int64_t>(m) * kBlockElements, combination.models[m],
               count, sum);
  }
  if (combination.base != 0.0) {
    add_scaled(vectors + static_cast<std::int64_t>(task.inputs.size()) * kBlockElements,
               combination.base, count, sum);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<float>(sum[i]);
  }
}

}  // namespace

double Gram::norm(std::size_t i) const { return std::sqrt(std::max(0.0, at(i, i))); }

double Gram::product(const std::vector<double>& a, const std::vector<double>& b) const {
  double sum = 0.0;
  for (std::size_t i = 0; i < size_; ++i) {
    for (std::size_t j = 0; j < size_; ++j) {
      sum += a[i] * at(i, j) * b[j];
    }
  }
  return sum;
}

Gram gram_of(const TensorTask& task, bool of_differences) {
  const std::size_t size = num_vectors(task, of_differences);
  std::vector<Gram> tiles(static_cast<std::size_t>(num_tiles(task.num_elements)), Gram(size));
  for_each_tile(task.num_elements, [&](std::int64_t tile, std::int64_t offset, std::int64_t count) {
    add_products(task, of_differences, offset, offset + count,
                 tiles[static_cast<std::size_t>(tile)]);
  });
  Gram out(size);
  for (const Gram& tile : tiles) {
    for (std::size_t i = 0; i < size; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        out.at(i, j) += tile.at(i, j);
      }
    }
  }
  mirror(out);
  return out;
}

std::vector<Gram> grams_of_rows(const TensorTask& task, bool of_differences) {
  const std::int64_t length = row_length(task);
  const std::int64_t rows = task.num_elements / length;
  std::vector<Gram> out(static_cast<std::size_t>(rows), Gram(num_vectors(task, of_differences)));
  constexpr std::int64_t kRows = 16;  // at a time: a row alone is little work
  for_each_in_parallel((rows + kRows - 1) / kRows, [&](std::int64_t group) {
    for (std::int64_t row = group * kRows; row < std::min(rows, (group + 1) * kRows); ++row) {
      Gram& gram = out[static_cast<std::size_t>(row)];
      add_products(task, of_differences, row * length, (row + 1) * length, gram);
      mirror(gram);
    }
  });
  return out;
}

std::int64_t row_length(const TensorTask& task) {
  return task.shape.size() > 1 ? task.shape.back() : std::max<std::int64_t>(1, task.num_elements);
}

void write_combination(const TensorTask& task, const Combination& combination,
                       bool of_differences) {
  write_row_combinations(task, {combination}, of_differences);
}

void write_row_combinations(const TensorTask& task, const std::vector<Combination>& rows,
                            bool of_differences) {
  const std::int64_t length = rows.size() == 1 ? task.num_elements : row_length(task);
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t size) {
    thread_local std::vector<float> result(kTileElements);
    std::int64_t at = 0;
    while (at < size) {
      const std::int64_t row = (offset + at) / length;
      const std::int64_t count =
          std::min({kBlockElements, size - at, (row + 1) * length - (offset + at)});
      combine(task, rows[static_cast<std::size_t>(row)], of_differences, offset + at, count,
              result.data() + at);
      at += count;
    }
    return result.data();
  });
}

}  // namespace growmerge::merging
