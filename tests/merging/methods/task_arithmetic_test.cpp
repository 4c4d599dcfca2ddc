#include "merging/methods/task_arithmetic.h"

#include <gtest/gtest.h>

#include "tests/merging/methods/method_fixture.h"

namespace growmerge::merging {
namespace {

TEST(TaskArithmeticMerge, EqualsItsFormula) {
  for (const bool normalize : {true, false}) {
    Fixture f(kTaskArithmetic);
    f.task.arguments.set(kNormalize, normalize);
    f.task.arguments.set(kLambda, 0.7);
    task_arithmetic_merge(f.task);
    expect_formula(f, [&](std::size_t i) {
      const double sum = 0.5 * f.delta(0, i) + 0.3 * f.delta(1, i) + 0.9 * f.delta(2, i);
      return f.base[i] + 0.7 * (normalize ? sum / 1.7 : sum);
    });
  }
}

TEST(TaskArithmeticMerge, LambdaZeroIsTheBase) {
  Fixture f(kTaskArithmetic);
  f.task.arguments.set(kLambda, 0.0);
  task_arithmetic_merge(f.task);
  EXPECT_EQ(f.out, f.base);
}

}  // namespace
}  // namespace growmerge::merging
