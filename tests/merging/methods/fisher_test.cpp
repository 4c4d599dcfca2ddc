#include "merging/methods/fisher.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/merging/methods/method_fixture.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

TEST(FisherMerge, EqualsItsFormula) {
  Fixture f(kFisher);
  std::vector<Values> fishers;
  for (const char* name : {"f0", "f1", "f2"}) {
    Values fisher = random_values(name, 1.0);
    for (float& x : fisher) {
      x = x * x * x * x * 1e-9F;  // spans many orders of magnitude
    }
    fishers.push_back(fisher);
  }
  const double scale = 1.0 / 3e-7;
  for (std::size_t m = 0; m < 3; ++m) {
    f.task.inputs[m].fisher = source(fishers[m]);
    f.task.inputs[m].model_value = scale;
  }
  fisher_merge(f.task);
  std::int64_t floored = 0;
  expect_formula(f, [&](std::size_t i) {
    double sum = 0.0;
    double divisor = 0.0;
    for (std::size_t m = 0; m < 3; ++m) {
      const double normalized = static_cast<double>(fishers[m][i]) * scale;
      floored += normalized < 1e-6 ? 1 : 0;
      const double precision =
          f.task.inputs[m].arguments.number(kFisherWeight) * std::max(normalized, 1e-6);
      sum += precision * f.models[m][i];
      divisor += precision;
    }
    return sum / divisor;
  });
  EXPECT_GT(floored, 100) << "the floor is exercised";
}

TEST(FisherMerge, RefusesNegativeFisherAndZeroWeights) {
  Fixture f(kFisher);
  Values fisher = random_values("f", 1.0);
  for (TensorTask::Input& input : f.task.inputs) {
    input.fisher = source(fisher, "statistics of x");
  }
  EXPECT_ERROR(fisher_merge(f.task), kCorrupt, "statistics of x", "negative");
  std::fill(fisher.begin(), fisher.end(), 1.0F);
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kFisherWeight, 0.0);
  }
  EXPECT_ERROR(fisher_merge(f.task), kInvalidArgument, "'t'", "sum to 0");
}

}  // namespace
}  // namespace growmerge::merging
