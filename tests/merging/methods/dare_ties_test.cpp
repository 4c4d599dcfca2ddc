#include "merging/methods/dare_ties.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/base/random.h"
#include "tests/merging/methods/method_fixture.h"

namespace growmerge::merging {
namespace {

/// Whether element i of model m survives: 16 bits of Philox against the density.
bool is_drawn(const Fixture& f, std::size_t m, std::size_t i) {
  const std::uint64_t stream = stream_id("merging/dare/" + std::to_string(m) + "/" + f.task.name);
  const std::size_t lane = i % 1024 / 128;
  const auto block = static_cast<std::uint32_t>(i / 1024 * 128 + i % 128);
  const auto words = philox4x32(
      {block, 0, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
      {static_cast<std::uint32_t>(f.task.seed), 0});
  const std::uint32_t bits = (words[lane / 2] >> (16 * (lane % 2))) & 0xFFFFU;
  return bits < std::lround(f.task.inputs[m].arguments.number(kDensity) * 65536.0);
}

std::vector<double> dare_ties_by_definition(const Fixture& f) {
  const std::size_t n = f.base.size();
  Deltas kept(f.models.size(), std::vector<double>(n, 0.0));
  for (std::size_t m = 0; m < f.models.size(); ++m) {
    double all = 0.0;
    double left = 0.0;
    std::int64_t count = 0;
    for (std::size_t i = 0; i < n; ++i) {
      all += std::abs(f.delta(m, i));
      if (is_drawn(f, m, i)) {
        ++count;
        kept[m][i] = f.delta(m, i);
        left += std::abs(f.delta(m, i));
      }
    }
    const double density = f.task.inputs[m].arguments.number(kDensity);
    const auto size = static_cast<double>(n);
    EXPECT_NEAR(static_cast<double>(count), density * size,
                4.5 * std::sqrt(density * (1 - density) * size) + 1e-9);
    for (double& delta : kept[m]) {
      delta *= (f.task.arguments.flag(kRescale) && left > 1e-7 ? all / left : 1.0) *
               f.task.inputs[m].arguments.number(kWeight);
    }
  }
  return elected_by_definition(f, kept);
}

TEST(DareTiesMerge, EqualsItsDefinition) {
  for (const bool rescale : {true, false}) {
    for (const std::uint64_t seed : {0, 7}) {
      Fixture f(kDareTies);
      f.task.arguments.set(kRescale, rescale);
      f.task.arguments.set(kNormalize, seed == 7);
      f.task.seed = seed;
      f.task.arguments.set(kLambda, 0.8);
      f.task.inputs[0].arguments.set(kDensity, 0.2);
      f.task.inputs[1].arguments.set(kDensity, 0.55);
      f.task.inputs[2].arguments.set(kDensity, 1.0);
      dare_ties_merge(f.task);
      const auto expected = dare_ties_by_definition(f);
      expect_formula(f, [&](std::size_t i) { return expected[i]; });
    }
  }
}

TEST(DareTiesMerge, DrawsDependOnSeedModelAndTensorAndDensityZeroKeepsNothing) {
  Fixture f(kDareTies);
  f.task.arguments.set(kRescale, true);
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 0.5);
    input.weights = source(f.models[0]);
  }
  const auto with = [&f](std::uint64_t seed, const std::string& name) {
    f.task.seed = seed;
    f.task.name = name;
    dare_ties_merge(f.task);
    return f.out;
  };
  const Values first = with(1, "a");
  EXPECT_EQ(with(1, "a"), first);
  EXPECT_NE(with(2, "a"), first);
  EXPECT_NE(with(1, "b"), first);
  std::set<float> steps;  // which of the three equal models were drawn
  for (std::size_t i = 0; i < 64; ++i) {
    steps.insert(std::round((first[i] - f.base[i]) / (f.models[0][i] - f.base[i]) * 8.0F));
  }
  EXPECT_GT(steps.size(), 4U) << "models share their draws";
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 0.0);
  }
  EXPECT_EQ(with(1, "a"), f.base);
}

}  // namespace
}  // namespace growmerge::merging
