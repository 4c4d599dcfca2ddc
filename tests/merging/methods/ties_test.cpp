#include "merging/methods/ties.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/merging/methods/method_fixture.h"

namespace growmerge::merging {
namespace {

/// TIES by sorting, in float64 after the float32 differences.
std::vector<double> ties_by_definition(const Fixture& f) {
  const std::size_t n = f.base.size();
  Deltas kept(f.models.size(), std::vector<double>(n, 0.0));
  for (std::size_t m = 0; m < f.models.size(); ++m) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::abs(f.delta(m, a)) > std::abs(f.delta(m, b));
    });
    const double density = f.task.inputs[m].arguments.number(kDensity);
    const auto k =
        density >= 1 ? n
        : density <= 0
            ? 0
            : std::max<std::size_t>(1, static_cast<std::size_t>(density * static_cast<double>(n)));
    for (std::size_t j = 0; j < k; ++j) {
      kept[m][order[j]] = f.delta(m, order[j]) * f.task.inputs[m].arguments.number(kWeight);
    }
  }
  return elected_by_definition(f, kept);
}

TEST(TiesMerge, EqualsItsDefinitionBySorting) {
  for (const bool normalize : {true, false}) {
    Fixture f(kTies);
    f.task.arguments.set(kNormalize, normalize);
    f.task.arguments.set(kLambda, 1.3);
    f.task.inputs[0].arguments.set(kDensity, 0.2);
    f.task.inputs[1].arguments.set(kDensity, 0.55);
    f.task.inputs[2].arguments.set(kDensity, 1.0);
    ties_merge(f.task);
    const auto expected = ties_by_definition(f);
    expect_formula(f, [&](std::size_t i) { return expected[i]; });
  }
}

TEST(TiesMerge, KeepsExactlyKWhenManyMagnitudesAreEqual) {
  Fixture f(kTies, {0.5, 0.25, 1.0});  // exact in float32, so that an even vote is even in both
  // Differences on a coarse grid: nearly every magnitude occurs thousands of times.
  for (std::size_t i = 0; i < f.base.size(); ++i) {
    f.base[i] = std::round(f.base[i] * 4.0F) / 4.0F;
    for (Values& model : f.models) {
      model[i] = f.base[i] + std::round((model[i] - f.base[i]) * 16.0F) / 16.0F;
    }
  }
  for (const double density : {0.1, 0.4, 0.9}) {
    for (TensorTask::Input& input : f.task.inputs) {
      input.arguments.set(kDensity, density);
    }
    f.task.arguments.set(kNormalize, true);
    ties_merge(f.task);
    const auto expected = ties_by_definition(f);
    expect_formula(f, [&](std::size_t i) { return expected[i]; });
  }
}

TEST(TiesMerge, OpposingSignsDoNotCancel) {
  Fixture f(kTies, {1.0, 1.0, 1.0});
  std::fill(f.base.begin(), f.base.end(), 0.0F);
  std::fill(f.models[0].begin(), f.models[0].end(), 3.0F);
  std::fill(f.models[1].begin(), f.models[1].end(), -2.0F);
  std::fill(f.models[2].begin(), f.models[2].end(), 0.0F);
  f.task.arguments.set(kNormalize, true);
  ties_merge(f.task);
  EXPECT_EQ(f.out, Values(f.base.size(), 3.0F)) << "the minority and the zero have no say";
  std::fill(f.models[1].begin(), f.models[1].end(), -3.0F);
  ties_merge(f.task);
  EXPECT_EQ(f.out, Values(f.base.size(), 3.0F)) << "an even vote counts as +";
}

TEST(TiesMerge, EdgesOfDensityAndSize) {
  Fixture f(kTies);
  f.task.arguments.set(kNormalize, false);
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 0.0);
  }
  ties_merge(f.task);
  EXPECT_EQ(f.out, f.base) << "density 0 keeps nothing";
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 1e-9);
  }
  ties_merge(f.task);
  const auto expected = ties_by_definition(f);
  expect_formula(f, [&](std::size_t i) { return expected[i]; });
  f.task.num_elements = 1;
  ties_merge(f.task);
  f.models[0] = f.base;  // all differences zero
  f.task.num_elements = kCount;
  f.task.inputs[0].weights = source(f.models[0]);
  ties_merge(f.task);
  const auto still = ties_by_definition(f);
  expect_formula(f, [&](std::size_t i) { return still[i]; });
}

TEST(TiesMerge, OrderOfModelsDoesNotMatter) {
  Fixture a(kTies);
  for (std::size_t m = 0; m < 3; ++m) {
    a.task.inputs[m].arguments.set(kDensity, 0.3 + 0.2 * static_cast<double>(m));
  }
  a.task.arguments.set(kNormalize, true);
  ties_merge(a.task);
  Fixture b(kTies);
  for (std::size_t m = 0; m < 3; ++m) {
    b.task.inputs[m].arguments.set(kDensity, 0.3 + 0.2 * static_cast<double>(m));
  }
  std::swap(b.task.inputs[0], b.task.inputs[2]);
  b.task.arguments.set(kNormalize, true);
  ties_merge(b.task);
  expect_formula(a, [&](std::size_t i) { return static_cast<double>(b.out[i]); });
}

}  // namespace
}  // namespace growmerge::merging
