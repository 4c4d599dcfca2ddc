#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"
#include "core/base/random.h"

namespace growmerge::eval {
namespace {

TEST(StandardError, IsTheSampleDeviationOverRootN) {
  const std::vector<double> values = {1, 0, 1, 1, 0, 1, 0, 1};
  EXPECT_NEAR(standard_error(values), std::sqrt(0.625 * 0.375 * 8 / 7 / 8), 1e-15);
  EXPECT_EQ(standard_error(std::vector<double>{3.0}), 0.0);
}

TEST(StandardError, ClustersOfOneItemGiveThePopulationForm) {
  const std::vector<double> values = {1, 0, 1, 1};
  const std::vector<std::string> alone = {"a", "b", "c", "d"};
  EXPECT_NEAR(clustered_standard_error(values, alone), std::sqrt(0.75 * 0.25 / 4), 1e-15);
  // Two clusters of identical items carry the information of two items.
  const std::vector<double> doubled = {1, 1, 0, 0};
  const std::vector<std::string> pairs = {"a", "a", "b", "b"};
  EXPECT_NEAR(clustered_standard_error(doubled, pairs), std::sqrt(0.25 / 2), 1e-15);
}

TEST(StandardError, GroupFormulaOfEqualSizes) {
  // With k equal groups of n: sqrt(mean se^2 / k) for n k large.
  const std::vector<double> errors = {0.01, 0.02};
  const std::vector<std::int64_t> sizes = {1000, 1000};
  const double expected = std::sqrt((999.0 * 1000 * (1e-4 + 4e-4)) / 1998.0 / 2000.0);
  EXPECT_NEAR(pooled_standard_error(errors, sizes), expected, 1e-16);
}

TEST(Wilson, ReferenceIntervalsAt85Percent) {
  const auto check = [](double n, double proportion, double low, double high) {
    const Interval interval = wilson_interval(proportion, n);
    EXPECT_NEAR(interval.low, low, 0.0006) << n;
    EXPECT_NEAR(interval.high, high, 0.0006) << n;
  };
  check(1000, 0.85, 0.827, 0.871);
  check(201, 0.85, 0.794, 0.893);
  check(232, 0.85, 0.798, 0.890);
  check(2801, 0.85, 0.836, 0.863);
  check(770, 0.85, 0.823, 0.873);
  check(50, 0.85, 0.726, 0.924);
  EXPECT_NEAR(wilson_interval(0.0, 10).low, 0.0, 1e-15);
  EXPECT_NEAR(wilson_interval(1.0, 10).high, 1.0, 1e-15);
}

TEST(NormalQuantile, TabulatedValues) {
  EXPECT_NEAR(normal_quantile(0.95), 1.959963984540054, 1e-12);
  EXPECT_NEAR(normal_quantile(0.90), 1.6448536269514722, 1e-12);
  EXPECT_NEAR(normal_quantile(0.99), 2.5758293035489004, 1e-12);
}

TEST(EffectiveSampleSize, CopiesSayNothingNew) {
  // 40 items, each there five times: as much as 40 independent ones, but for n - 1 and G - 1.
  std::vector<double> values;
  std::vector<std::string> clusters;
  for (int item = 0; item < 40; ++item) {
    for (int copy = 0; copy < 5; ++copy) {
      values.push_back(item % 3 == 0 ? 1.0 : 0.0);
      clusters.push_back(std::to_string(item));
    }
  }
  EXPECT_NEAR(effective_sample_size(values, clusters), 40.0 * 200 / 199 * 39 / 40, 1e-9);
  EXPECT_EQ(effective_sample_size(values, std::vector<std::string>(200, "one")), 1.0);
  for (std::size_t i = 0; i < clusters.size(); ++i) {
    clusters[i] = std::to_string(i);
  }
  EXPECT_NEAR(effective_sample_size(values, clusters), 200.0, 1e-9);
}

TEST(McNemarTest, PublishedExample) {
  // Two small models on 770 English pairs: 81 and 71 discordant, p = 0.47, paired SE 1.60 points.
  EXPECT_NEAR(mcnemar(81, 71).exact_p, 0.47, 0.005);
  EXPECT_LT(mcnemar(81, 71).mid_p, mcnemar(81, 71).exact_p);
  EXPECT_NEAR(paired_standard_error(81, 71, 770), 0.0160, 0.00005);
}

TEST(McNemarTest, SmallCountsByHand) {
  // 1 against 5: P(X <= 1 | 6, 1/2) = 7/64.
  EXPECT_NEAR(mcnemar(1, 5).exact_p, 14.0 / 64, 1e-12);
  EXPECT_NEAR(mcnemar(5, 1).mid_p, 14.0 / 64 - 6.0 / 64, 1e-12);
  EXPECT_EQ(mcnemar(0, 0).exact_p, 1.0);
  EXPECT_NEAR(mcnemar(4, 4).mid_p, 1.0, 1e-12);
  EXPECT_NEAR(mcnemar(0, 3).exact_p, 0.25, 1e-12);
}

TEST(Holm, StepsDown) {
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.5};
  const std::vector<double> adjusted = holm(p);
  EXPECT_NEAR(adjusted[0], 0.04, 1e-15);
  EXPECT_NEAR(adjusted[1], 0.09, 1e-15);  // max(3 * 0.03, 2 * 0.04)
  EXPECT_NEAR(adjusted[2], 0.09, 1e-15);
  EXPECT_NEAR(adjusted[3], 0.5, 1e-15);
}

TEST(Bootstrap, MatchesTheNormalTheoryOfAMean) {
  const Philox random(3, stream_id("test"));
  std::vector<double> values;
  for (std::uint64_t i = 0; i < 400; ++i) {
    values.push_back(random.normal(i));
  }
  const std::vector<double> ones(values.size(), 1.0);
  const BootstrapResult result = bootstrap_ratio(values, ones, {.resamples = 20000, .seed = 1});
  const double expected = standard_error(values);
  EXPECT_NEAR(result.standard_error, expected, 0.03 * expected);
  EXPECT_NEAR(result.interval.low, mean(values) - 1.96 * expected, 0.15 * expected);
  EXPECT_NEAR(result.interval.high, mean(values) + 1.96 * expected, 0.15 * expected);
  EXPECT_LT(result.interval.low, result.tost_interval.low);
}

TEST(Bootstrap, CoversTheTruthAboutAsOftenAsItSays) {
  int covered = 0;
  constexpr int kRuns = 400;
  for (int run = 0; run < kRuns; ++run) {
    const Philox random(static_cast<std::uint64_t>(run), stream_id("coverage"));
    std::vector<double> numerators;
    std::vector<double> denominators;
    for (std::uint64_t i = 0; i < 80; ++i) {
      // Documents of 1 to 3 units of length whose rate is 2 on average.
      const double length = 1.0 + 2.0 * random.uniform(2 * i);
      numerators.push_back(length * (2.0 + 0.5 * random.normal(2 * i + 1)));
      denominators.push_back(length);
    }
    covered += bootstrap_ratio(numerators, denominators, {.resamples = 400, .seed = 9})
                       .interval.contains(2.0)
                   ? 1
                   : 0;
  }
  EXPECT_GT(covered, 0.91 * kRuns);
  EXPECT_LT(covered, 0.98 * kRuns);
}

TEST(Bootstrap, TwoLevelsSeeTheSpreadBetweenGroups) {
  // Groups differ, items within one do not: only drawing groups makes a spread.
  std::vector<std::vector<double>> groups;
  std::vector<double> means;
  for (int g = 0; g < 30; ++g) {
    groups.emplace_back(20, static_cast<double>(g));
    means.push_back(g);
  }
  const BootstrapResult result = bootstrap_groups(groups, {.resamples = 4000, .seed = 5});
  const double expected = standard_error(means);
  EXPECT_NEAR(result.standard_error, expected, 0.05 * expected);
}

TEST(Bootstrap, IsAPureFunctionOfTheSeedAndRefusesNonsense) {
  const std::vector<double> numerators = {1, 2, 4, 8};
  const std::vector<double> ones(4, 1.0);
  const auto first = bootstrap_ratio(numerators, ones, {.resamples = 500, .seed = 1});
  const auto again = bootstrap_ratio(numerators, ones, {.resamples = 500, .seed = 1});
  const auto other = bootstrap_ratio(numerators, ones, {.resamples = 500, .seed = 2});
  EXPECT_EQ(first.standard_error, again.standard_error);
  EXPECT_NE(first.standard_error, other.standard_error);
  EXPECT_THROW((void)bootstrap_ratio({}, {}, {}), Error);
  EXPECT_THROW((void)bootstrap_ratio(numerators, ones, {.resamples = 10}), Error);
}

}  // namespace
}  // namespace growmerge::eval
