// Inner products of a tensor of several models: what norms, angles, and everything that is a
// combination of the models by them, follow from in one pass.
#pragma once

#include <cstdint>
#include <vector>

#include "merging/tensor_task.h"

namespace growmerge::merging {

/// <v_i, v_j> of M vectors, float64.
class Gram {
 public:
  explicit Gram(std::size_t size) : size_(size), values_(size * size) {}
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] double& at(std::size_t i, std::size_t j) { return values_[i * size_ + j]; }
  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return values_[i * size_ + j]; }
  [[nodiscard]] double norm(std::size_t i) const;
  /// a' G b.
  [[nodiscard]] double product(const std::vector<double>& a, const std::vector<double>& b) const;

 private:
  std::size_t size_;
  std::vector<double> values_;
};

/// Of the models' differences from the base where the task has one and `of_differences`, else of
/// the models and, behind them, of a base. Float32 differences, float64 products and sums, added
/// tile by tile in order. One pass over the inputs.
[[nodiscard]] Gram gram_of(const TensorTask& task, bool of_differences);

/// The same of each row of a matrix (a vector is one row). Memory: M^2 doubles a row.
[[nodiscard]] std::vector<Gram> grams_of_rows(const TensorTask& task, bool of_differences);

/// Elements of a row: the last dimension, or all where the tensor is a vector.
[[nodiscard]] std::int64_t row_length(const TensorTask& task);

/// A tensor as a combination of vectors: sum_i models[i] v_i + base theta_0, rounded to float32
/// once. With `of_differences` v_i are the models' differences from the base.
struct Combination {
  std::vector<double> models;
  double base = 0.0;
};
void write_combination(const TensorTask& task, const Combination& combination, bool of_differences);
/// The same with a combination for each row.
void write_row_combinations(const TensorTask& task, const std::vector<Combination>& rows,
                            bool of_differences);

}  // namespace growmerge::merging
