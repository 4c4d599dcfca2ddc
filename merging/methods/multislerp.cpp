#include "merging/methods/multislerp.h"

#include <cmath>

#include "core/base/error.h"
#include "merging/deltas/gram.h"

namespace growmerge::merging {
namespace {

/// The weights, normalised where asked for.
std::vector<double> weights_of(const TensorTask& task) {
  std::vector<double> out;
  double sum = 0.0;
  for (const TensorTask::Input& input : task.inputs) {
    out.push_back(input.arguments.number(kWeight));
    sum += out.back();
  }
  if (task.arguments.flag(kNormalizeWeights)) {
    GM_CHECK(sum != 0.0, kInvalidArgument, "merging tensor '", task.name,
             "': the weights sum to 0 and normalize_weights is on: change a weight, or set "
             "normalize_weights: false");
    for (double& weight : out) {
      weight /= sum;
    }
  }
  return out;
}

/// The result as a combination of the v_i.
std::vector<double> on_the_sphere(const TensorTask& task, const Gram& gram,
                                  const std::vector<double>& weights) {
  const double eps = task.arguments.number(kMultislerpEps);
  const std::size_t size = weights.size();
  std::vector<double> inverse(size);  // u_i = inverse_i v_i
  std::vector<double> mean(size);     // as a combination of v_i, all below likewise
  double radius = 0.0;
  for (std::size_t i = 0; i < size; ++i) {
    inverse[i] = gram.norm(i) > 0.0 ? 1.0 / (gram.norm(i) + eps) : 0.0;  // eps may be 0
    mean[i] = weights[i] * inverse[i];
    radius += weights[i] * gram.norm(i);
  }
  const bool is_zero = gram.product(inverse, inverse) == 0.0;
  if (is_zero) {
    return weights;  // a tensor that no model changed: any combination is the base
  }
  const double mean_norm = std::sqrt(std::max(0.0, gram.product(mean, mean)));
  if (!(mean_norm >= eps) || mean_norm == 0.0) {
    GM_CHECK(size == 2, kInvalidArgument, "merging tensor '", task.name,
             "': the weighted directions of the models cancel, so there is no mean to begin with: "
             "take other weights");
    return weights;
  }
  for (double& m : mean) {
    m /= mean_norm;
  }
  std::vector<double> tangent(size);
  double along = 0.0;
  for (std::size_t i = 0; i < size; ++i) {
    std::vector<double> unit(size, 0.0);
    unit[i] = inverse[i];
    tangent[i] += weights[i] * inverse[i];
    along += weights[i] * gram.product(unit, mean);
  }
  for (std::size_t i = 0; i < size; ++i) {
    tangent[i] -= along * mean[i];
  }
  const double length = std::sqrt(std::max(0.0, gram.product(tangent, tangent))) + eps;
  const double turn = length > 0.0 ? std::sin(length) / length : 1.0;
  std::vector<double> out(size);
  for (std::size_t i = 0; i < size; ++i) {
    out[i] = radius * (mean[i] * std::cos(length) + tangent[i] * turn);
  }
  return out;
}

}  // namespace

void multislerp_merge(const TensorTask& task) {
  Combination out{.models = {1.0}, .base = task.has_base ? 1.0 : 0.0};
  if (task.inputs.size() > 1) {
    out.models = on_the_sphere(task, gram_of(task, true), weights_of(task));
  }
  write_combination(task, out, true);
}

}  // namespace growmerge::merging
