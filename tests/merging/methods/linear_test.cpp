#include "merging/methods/linear.h"

#include <gtest/gtest.h>

#include "tests/merging/methods/method_fixture.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

TEST(LinearMerge, EqualsItsFormula) {
  for (const bool normalize : {true, false}) {
    Fixture f(kLinear);
    f.task.arguments.set(kNormalize, normalize);
    linear_merge(f.task);
    expect_formula(f, [&](std::size_t i) {
      const double sum = 0.5 * f.models[0][i] + 0.3 * f.models[1][i] + 0.9 * f.models[2][i];
      return normalize ? sum / 1.7 : sum;
    });
  }
}

TEST(LinearMerge, OfEqualModelsIsTheModel) {
  Fixture f(kLinear, {0.25, 0.25, 0.5});
  for (TensorTask::Input& input : f.task.inputs) {
    input.weights = source(f.base);
  }
  f.task.arguments.set(kNormalize, true);
  linear_merge(f.task);
  EXPECT_EQ(f.out, f.base);
}

TEST(LinearMerge, WeightsThatCancelAreRefused) {
  Fixture f(kLinear, {1.0, -2.0, 1.0});
  f.task.arguments.set(kNormalize, true);
  EXPECT_ERROR(linear_merge(f.task), kInvalidArgument, "'t'", "sum to 0", "normalize: false");
}

}  // namespace
}  // namespace growmerge::merging
