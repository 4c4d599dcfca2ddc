#include "core/model/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/base/error.h"

namespace growmerge {
namespace {

TEST(LrSchedule, WsdWarmsHoldsAndDecays) {
  const LrScheduleConfig config{.kind = "wsd", .lr = 1.0, .warmup_steps = 4, .decay_fraction = 0.2};
  const std::int64_t steps = 50;  // the last 10 decay
  EXPECT_DOUBLE_EQ(learning_rate(config, 0, steps, 1), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate(config, 3, steps, 1), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 39, steps, 1), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 40, steps, 1), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 45, steps, 1), 0.5);
  EXPECT_NEAR(learning_rate(config, 49, steps, 1), 0.1, 1e-15);
  EXPECT_DOUBLE_EQ(learning_rate(config, 50, steps, 1), 0.0);
}

TEST(LrSchedule, WsdSquareRootReachesTheMinimumRatio) {
  const LrScheduleConfig config{
      .kind = "wsd", .lr = 2.0, .decay_fraction = 0.5, .decay_shape = "sqrt", .min_lr_ratio = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(config, 50, 100, 1), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 75, 100, 1), 2.0 * (0.1 + 0.9 * (1 - std::sqrt(0.5))));
  EXPECT_DOUBLE_EQ(learning_rate(config, 100, 100, 1), 0.2);
}

TEST(LrSchedule, CosineIsHalfAPeriodAfterTheWarmUp) {
  const LrScheduleConfig config{
      .kind = "cosine", .lr = 1.0, .warmup_steps = 10, .min_lr_ratio = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(config, 10, 110, 1), 1.0);
  EXPECT_NEAR(learning_rate(config, 60, 110, 1), 0.55, 1e-15);
  EXPECT_NEAR(learning_rate(config, 35, 110, 1),
              0.1 + 0.45 * (1 + std::cos(std::numbers::pi * 0.25)), 1e-15);
  EXPECT_NEAR(learning_rate(config, 110, 110, 1), 0.1, 1e-15);
}

TEST(LrSchedule, WarmUpInTokensRoundsUpToSteps) {
  const LrScheduleConfig config{.kind = "constant", .lr = 1.0, .warmup_tokens = 1001};
  EXPECT_NEAR(learning_rate(config, 0, 100, 100), 1.0 / 11.0, 1e-15);
  EXPECT_DOUBLE_EQ(learning_rate(config, 10, 100, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 99, 100, 100), 1.0);
}

TEST(LrSchedule, OverlapOfWarmUpAndDecayTakesTheLower) {
  const LrScheduleConfig config{
      .kind = "wsd", .lr = 1.0, .warmup_steps = 10, .decay_fraction = 0.5};
  EXPECT_DOUBLE_EQ(learning_rate(config, 2, 10, 1), 0.3);
  EXPECT_NEAR(learning_rate(config, 9, 10, 1), 0.2, 1e-15);
}

TEST(LrSchedule, RefusesNonsense) {
  EXPECT_THROW(LrScheduleConfig{.kind = "linear"}.validate(), Error);
  EXPECT_THROW(LrScheduleConfig{.decay_fraction = 1.5}.validate(), Error);
  EXPECT_THROW(LrScheduleConfig{.decay_shape = "cubic"}.validate(), Error);
  EXPECT_THROW(LrScheduleConfig{.min_lr_ratio = -0.1}.validate(), Error);
  EXPECT_THROW(LrScheduleConfig{.lr = std::nan("")}.validate(), Error);
  EXPECT_THROW((void)learning_rate({.warmup_tokens = 5}, 0, 10, 0), Error);
}

}  // namespace
}  // namespace growmerge
