#include "merging/methods/slerp.h"

#include <cmath>

#include "merging/deltas/gram.h"

namespace growmerge::merging {

void slerp_merge(const TensorTask& task) {
  constexpr double kSmallNorm = 1e-8;
  constexpr double kStraight = 0.9995;
  const double t = task.arguments.number(kSlerpT);
  const Gram gram = gram_of(task, false);  // the model, then the base
  const auto norm = [&gram](std::size_t i) {
    return gram.norm(i) > kSmallNorm ? gram.norm(i) : 1.0;
  };
  const double cosine = gram.at(0, 1) / (norm(0) * norm(1));
  Combination out{.models = {t}, .base = 1.0 - t};
  if (std::abs(cosine) <= kStraight) {
    const double omega = std::acos(cosine);
    out = {.models = {std::sin(t * omega) / std::sin(omega)},
           .base = std::sin((1.0 - t) * omega) / std::sin(omega)};
  }
  write_combination(task, out, false);
}

}  // namespace growmerge::merging
