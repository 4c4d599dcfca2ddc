// Methods that go by angles: each against its formula in float64.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/base/error.h"
#include "merging/methods/karcher.h"
#include "merging/methods/model_stock.h"
#include "merging/methods/multislerp.h"
#include "merging/methods/nuslerp.h"
#include "merging/methods/slerp.h"
#include "tests/merging/methods/method_fixture.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

Vector scaled(Vector x, double by) {
  for (double& value : x) {
    value *= by;
  }
  return x;
}

Vector plus(Vector a, const Vector& b, double by = 1.0) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] += by * b[i];
  }
  return a;
}

Vector unit(const Vector& x) { return scaled(x, 1.0 / std::sqrt(dot(x, x))); }

/// Elements [begin, end) of model m, or of its difference.
Vector values_of(const Fixture& f, std::size_t m, bool of_differences, std::size_t begin = 0,
                 std::size_t end = 0) {
  Vector out;
  for (std::size_t i = begin; i < (end == 0 ? f.base.size() : end); ++i) {
    out.push_back(of_differences ? f.delta(m, i) : f.models[m][i]);
  }
  return out;
}

Vector slerp_by_definition(const Vector& a, const Vector& b, double t) {
  const double omega = std::acos(dot(unit(a), unit(b)));
  return plus(scaled(a, std::sin((1.0 - t) * omega) / std::sin(omega)), b,
              std::sin(t * omega) / std::sin(omega));
}

Vector base_of(const Fixture& f) { return {f.base.begin(), f.base.end()}; }

void expect_vector(const Fixture& f, const Vector& expected) {
  expect_formula(f, [&](std::size_t i) { return expected[i]; });
}

TEST(Slerp, GoesAlongTheArcFromTheBase) {
  Fixture f(kSlerp);
  f.models[0] = random_values("far", 1.0);  // far enough for an arc
  f.task.inputs[0].weights = source(f.models[0]);
  for (const double t : {0.0, 0.3, 1.0}) {
    f.task.arguments.set(kSlerpT, t);
    slerp_merge(f.task);
    expect_vector(f, slerp_by_definition(base_of(f), values_of(f, 0, false), t));
  }
}

TEST(Slerp, IsAStraightLineBetweenNearModels) {
  Fixture f(kSlerp);
  f.models[0] = sum_of(f.base, random_values("near", 0.001));
  f.task.inputs[0].weights = source(f.models[0]);
  slerp_merge(f.task);
  expect_vector(f, plus(scaled(base_of(f), 0.7), values_of(f, 0, false), 0.3));
}

TEST(Nuslerp, OfModelsOrOfDifferences) {
  for (const bool has_base : {true, false}) {
    Fixture f(kNuslerp, {0.6, 0.2, 0.0});
    f.task.has_base = has_base;
    nuslerp_merge(f.task);
    const Vector result =
        slerp_by_definition(values_of(f, 0, has_base), values_of(f, 1, has_base), 0.25);
    expect_vector(f, has_base ? plus(base_of(f), result) : result);
  }
}

TEST(Nuslerp, RowByRowAndColumnByColumn) {
  constexpr std::size_t kLength = 31;
  Fixture f(kNuslerp, {0.5, 0.5, 0.0});
  f.shape_as_rows(kLength);
  f.task.arguments.set(kNuslerpFlatten, 0.0);
  nuslerp_merge(f.task);
  Vector expected = base_of(f);
  const std::size_t rows = f.base.size() / kLength;
  for (std::size_t row = 0; row < rows; ++row) {
    const Vector part =
        slerp_by_definition(values_of(f, 0, true, row * kLength, (row + 1) * kLength),
                            values_of(f, 1, true, row * kLength, (row + 1) * kLength), 0.5);
    for (std::size_t i = 0; i < kLength; ++i) {
      expected[row * kLength + i] += part[i];
    }
  }
  expect_vector(f, expected);

  f.task.arguments.set(kNuslerpRowWise, 1.0);
  nuslerp_merge(f.task);
  expected = base_of(f);
  for (std::size_t column = 0; column < kLength; ++column) {
    Vector a;
    Vector b;
    for (std::size_t row = 0; row < rows; ++row) {
      a.push_back(f.delta(0, row * kLength + column));
      b.push_back(f.delta(1, row * kLength + column));
    }
    const Vector part = slerp_by_definition(a, b, 0.5);
    for (std::size_t row = 0; row < rows; ++row) {
      expected[row * kLength + column] += part[row];
    }
  }
  expect_vector(f, expected);
}

TEST(Multislerp, EqualsItsDefinition) {
  for (const bool has_base : {true, false}) {
    Fixture f(kMultislerp);
    f.task.has_base = has_base;
    multislerp_merge(f.task);
    const Vector weights = {0.5 / 1.7, 0.3 / 1.7, 0.9 / 1.7};
    Vector mean(f.base.size(), 0.0);
    double radius = 0.0;
    for (std::size_t m = 0; m < 3; ++m) {
      const Vector v = values_of(f, m, has_base);
      mean = plus(mean, unit(v), weights[m]);
      radius += weights[m] * std::sqrt(dot(v, v));
    }
    mean = unit(mean);
    Vector tangent(f.base.size(), 0.0);
    for (std::size_t m = 0; m < 3; ++m) {
      const Vector u = unit(values_of(f, m, has_base));
      tangent = plus(tangent, plus(u, mean, -dot(u, mean)), weights[m]);
    }
    const double length = std::sqrt(dot(tangent, tangent));
    const double turn = length > 0.0 ? std::sin(length) / length : 1.0;
    const Vector result = scaled(plus(scaled(mean, std::cos(length)), tangent, turn), radius);
    expect_vector(f, has_base ? plus(base_of(f), result) : result);
  }
}

TEST(Multislerp, SingleEqualAndOpposedModels) {
  Fixture one(kMultislerp);
  one.task.inputs.resize(1);
  multislerp_merge(one.task);
  expect_vector(one, values_of(one, 0, false));
  Fixture equal(kMultislerp);
  equal.models = {equal.models[0], equal.models[0], equal.models[0]};
  for (std::size_t m = 0; m < 3; ++m) {
    equal.task.inputs[m].weights = source(equal.models[m]);
  }
  multislerp_merge(equal.task);
  expect_vector(equal, values_of(equal, 0, false));
  Fixture opposed(kMultislerp, {1.0, 1.0, 1.0});
  opposed.task.has_base = false;
  opposed.task.inputs.resize(2);
  std::transform(opposed.models[0].begin(), opposed.models[0].end(), opposed.models[1].begin(),
                 std::negate<>());
  multislerp_merge(opposed.task);
  EXPECT_EQ(opposed.out, Values(opposed.out.size(), 0.0F)) << "two that cancel are averaged";
  Fixture zero(kMultislerp, {1.0, -0.5, -0.5});
  EXPECT_ERROR(multislerp_merge(zero.task), kInvalidArgument, "sum to 0", "normalize_weights");
}

TEST(Multislerp, OfATensorThatNoModelChangedIsThatTensor) {
  Fixture f(kMultislerp);
  for (TensorTask::Input& input : f.task.inputs) {
    input.weights = source(f.base);
  }
  multislerp_merge(f.task);
  EXPECT_EQ(f.out, f.base);
}

TEST(Karcher, IsWhereTheTangentsCancelAndHasTheMeanNorm) {
  Fixture f(kKarcher);
  f.models = {random_values("a", 1.0), random_values("b", 2.0), random_values("c", 0.5)};
  for (std::size_t m = 0; m < 3; ++m) {
    f.task.inputs[m].weights = source(f.models[m]);
  }
  f.task.arguments.set(kKarcherSteps, 100.0);
  f.task.arguments.set(kKarcherTolerance, 1e-9);
  karcher_merge(f.task);
  const Vector out(f.out.begin(), f.out.end());
  double norms = 0.0;
  Vector tangent(out.size(), 0.0);
  for (std::size_t m = 0; m < 3; ++m) {
    const Vector v = values_of(f, m, false);
    norms += std::sqrt(dot(v, v)) / 3.0;
    const double cosine = dot(unit(out), unit(v));
    const double angle = std::acos(cosine);
    tangent = plus(tangent, plus(unit(v), unit(out), -cosine), angle / std::sin(angle));
  }
  EXPECT_NEAR(std::sqrt(dot(out, out)) / norms, 1.0, 1e-6);
  EXPECT_LE(std::sqrt(dot(tangent, tangent)), 1e-6);
}

TEST(Karcher, OfEqualModelsIsThatModelAndOfZerosZero) {
  Fixture f(kKarcher);
  f.models = {f.models[0], f.models[0], f.models[0]};
  for (std::size_t m = 0; m < 3; ++m) {
    f.task.inputs[m].weights = source(f.models[m]);
  }
  karcher_merge(f.task);
  expect_vector(f, values_of(f, 0, false));
  for (Values& model : f.models) {
    std::fill(model.begin(), model.end(), 0.0F);
  }
  karcher_merge(f.task);
  EXPECT_EQ(f.out, Values(f.out.size(), 0.0F));
}

TEST(Karcher, OfOpposedModelsGoesByTheFirst) {
  Fixture f(kKarcher);
  f.task.inputs.resize(2);
  for (const float factor : {-1.0F, -0.5F, -0.3F, -1.7F}) {
    std::transform(f.models[0].begin(), f.models[0].end(), f.models[1].begin(),
                   [factor](float x) { return factor * x; });
    karcher_merge(f.task);
    // Its direction, or for the tangents' want of one that of the mean of both, which is the same.
    const double scale = (1.0 + std::abs(factor)) / 2.0;
    expect_formula(f, [&](std::size_t i) { return scale * f.models[0][i]; });
  }
}

/// t of model stock for these differences.
double stock_share(const std::vector<Vector>& deltas) {
  double cosines = 0.0;
  for (std::size_t i = 0; i < deltas.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      cosines += dot(unit(deltas[i]), unit(deltas[j]));
    }
  }
  const auto count = static_cast<double>(deltas.size());
  const double mean = cosines / (count * (count - 1.0) / 2.0);
  return count * mean / (1.0 + (count - 1.0) * mean);
}

TEST(ModelStock, GoesAsFarAsTheDifferencesAgree) {
  constexpr std::size_t kLength = 57;
  for (const bool by_row : {false, true}) {
    Fixture f(kModelStock);
    f.shape_as_rows(kLength);
    f.task.arguments.set(kFilterWise, by_row);
    // A common part, so that there is something to agree on.
    const Values common = random_values("common", 0.1);
    for (std::size_t m = 0; m < 3; ++m) {
      f.models[m] = sum_of(f.models[m], common);
      f.task.inputs[m].weights = source(f.models[m]);
    }
    model_stock_merge(f.task);
    Vector expected = base_of(f);
    const std::size_t length = by_row ? kLength : f.base.size();
    for (std::size_t begin = 0; begin < f.base.size(); begin += length) {
      std::vector<Vector> deltas;
      for (std::size_t m = 0; m < 3; ++m) {
        deltas.push_back(values_of(f, m, true, begin, begin + length));
      }
      const double t = stock_share(deltas);
      for (std::size_t i = 0; i < length; ++i) {
        expected[begin + i] += t * (deltas[0][i] + deltas[1][i] + deltas[2][i]) / 3.0;
      }
    }
    expect_vector(f, expected);
  }
}

TEST(ModelStock, OfTheBaseAloneIsTheBase) {
  Fixture f(kModelStock);
  for (std::size_t m = 0; m < 3; ++m) {
    f.task.inputs[m].weights = source(f.base);
  }
  model_stock_merge(f.task);
  EXPECT_EQ(f.out, f.base);
}

}  // namespace
}  // namespace growmerge::merging
