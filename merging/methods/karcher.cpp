#include "merging/methods/karcher.h"

#include <algorithm>
#include <cmath>

#include "merging/deltas/gram.h"

namespace growmerge::merging {
namespace {

double length_of(const Gram& gram, const std::vector<double>& x) {
  return std::sqrt(std::max(0.0, gram.product(x, x)));
}

void scale(std::vector<double>& x, double factor) {
  for (double& value : x) {
    value *= factor;
  }
}

/// The mean direction as a combination of the models. `inverse`: 1 / norm, 0 where a model is left
/// out; `share`: of those that are not.
std::vector<double> mean_direction(const Gram& gram, const std::vector<double>& inverse,
                                   double share, double max_steps, double tolerance) {
  const std::size_t size = gram.size();
  std::vector<double> mean = inverse;
  scale(mean, share);
  const double norm = length_of(gram, mean);
  if (norm < tolerance) {  // they cancel: from the first one on
    const auto first =
        std::find_if(inverse.begin(), inverse.end(), [](double x) { return x > 0.0; });
    std::fill(mean.begin(), mean.end(), 0.0);
    mean[static_cast<std::size_t>(first - inverse.begin())] = *first;
  } else {
    scale(mean, 1.0 / norm);
  }
  for (double step = 0.0; step < max_steps; ++step) {
    std::vector<double> tangent(size, 0.0);
    for (std::size_t i = 0; i < size; ++i) {
      std::vector<double> unit(size, 0.0);
      unit[i] = inverse[i];
      const double cosine = std::clamp(gram.product(mean, unit), -1.0, 1.0);
      const double angle = std::acos(cosine);
      // On the opposite side of the sphere every direction is as good: rounding would choose one.
      constexpr double kOpposite = 1e-6;
      if (inverse[i] == 0.0 || angle < tolerance || std::sin(angle) < kOpposite) {
        continue;
      }
      const double by = share * angle / std::sin(angle);
      tangent[i] += by * inverse[i];
      for (std::size_t j = 0; j < size; ++j) {
        tangent[j] -= by * cosine * mean[j];
      }
    }
    const double length = length_of(gram, tangent);
    if (length == 0.0 || length < tolerance) {  // tolerance may be 0
      break;
    }
    for (std::size_t i = 0; i < size; ++i) {
      mean[i] = std::cos(length) * mean[i] + std::sin(length) / length * tangent[i];
    }
    if (const double now = length_of(gram, mean); now > tolerance) {
      scale(mean, 1.0 / now);
    }
  }
  return mean;
}

}  // namespace

void karcher_merge(const TensorTask& task) {
  const double tolerance = task.arguments.number(kKarcherTolerance);
  const Gram gram = gram_of(task, false);
  Combination out;
  if (gram.size() == 1) {
    out.models = {1.0};
  } else {
    std::vector<double> inverse;
    double norms = 0.0;
    for (std::size_t i = 0; i < gram.size(); ++i) {
      inverse.push_back(gram.norm(i) > tolerance ? 1.0 / gram.norm(i) : 0.0);
      norms += gram.norm(i);
    }
    const auto valid =
        std::count_if(inverse.begin(), inverse.end(), [](double x) { return x > 0; });
    out.models.assign(gram.size(), 0.0);
    if (valid > 0) {
      out.models = mean_direction(gram, inverse, 1.0 / static_cast<double>(valid),
                                  task.arguments.number(kKarcherSteps), tolerance);
      scale(out.models, norms / static_cast<double>(gram.size()));
    }
  }
  write_combination(task, out, false);
}

}  // namespace growmerge::merging
