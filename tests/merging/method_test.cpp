// Every method against its formula in float64, on tensors long enough for several tiles.
#include "merging/method.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "core/base/random.h"
#include "merging/deltas/magnitude_select.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

constexpr std::int64_t kCount = 2 * kTileElements + 777;
using Values = std::vector<float>;

Values random_values(const char* name, double scale, std::int64_t count = kCount) {
  const Philox random(3, stream_id(name));
  Values out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(scale * random.normal(i));
  }
  return out;
}

Values sum_of(const Values& a, const Values& b) {
  Values out(a.size());
  std::transform(a.begin(), a.end(), b.begin(), out.begin(), std::plus<>());
  return out;
}

TileSource source(const Values& values, const std::string& label = "x") {
  return {.bytes = std::as_bytes(std::span(values)), .dtype = at::kFloat, .label = label};
}

/// Three models around a base, and where the result goes.
struct Fixture {
  explicit Fixture(std::vector<double> weights = {0.5, 0.3, 0.9})
      : base(random_values("base", 1.0)), out(base.size()) {
    for (const char* name : {"m0", "m1", "m2"}) {
      models.push_back(sum_of(base, random_values(name, 0.1)));
    }
    task.name = "t";
    task.num_elements = static_cast<std::int64_t>(base.size());
    task.base = source(base);
    for (std::size_t m = 0; m < models.size(); ++m) {
      TensorTask::Input input;
      input.weights = source(models[m], "model " + std::to_string(m));
      input.weight = weights[m];
      task.inputs.push_back(input);
    }
    task.out.dtype = at::kFloat;
    task.out.label = "tensor 't'";
    task.out.put = [this](std::uint64_t offset, std::span<const std::byte> bytes) {
      std::memcpy(reinterpret_cast<std::byte*>(out.data()) + offset, bytes.data(), bytes.size());
    };
  }
  [[nodiscard]] double delta(std::size_t m, std::size_t i) const {
    return models[m][i] - base[i];  // as float32 sees it
  }

  Values base;
  std::vector<Values> models;
  Values out;
  TensorTask task;
};

/// Three float32 roundings of terms near 1.
constexpr double kTolerance = 4e-7;

template <class Formula>
void expect_formula(const Fixture& f, const Formula& formula) {
  double worst = 0.0;
  for (std::size_t i = 0; i < f.out.size(); ++i) {
    const double expected = formula(i);
    worst = std::max(worst, std::abs(f.out[i] - expected) / std::max(1.0, std::abs(expected)));
  }
  EXPECT_LE(worst, kTolerance);
}

TEST(LinearMerge, EqualsItsFormula) {
  for (const bool normalize : {true, false}) {
    Fixture f;
    f.task.normalize = normalize;
    linear_merge(f.task);
    expect_formula(f, [&](std::size_t i) {
      const double sum = 0.5 * f.models[0][i] + 0.3 * f.models[1][i] + 0.9 * f.models[2][i];
      return normalize ? sum / 1.7 : sum;
    });
  }
}

TEST(LinearMerge, OfEqualModelsIsTheModel) {
  Fixture f({0.25, 0.25, 0.5});
  for (TensorTask::Input& input : f.task.inputs) {
    input.weights = source(f.base);
  }
  f.task.normalize = true;
  linear_merge(f.task);
  EXPECT_EQ(f.out, f.base);
}

TEST(LinearMerge, WeightsThatCancelAreRefused) {
  Fixture f({1.0, -2.0, 1.0});
  f.task.normalize = true;
  EXPECT_ERROR(linear_merge(f.task), kInvalidArgument, "'t'", "sum to 0", "normalize: false");
}

TEST(TaskArithmeticMerge, EqualsItsFormula) {
  for (const bool normalize : {true, false}) {
    Fixture f;
    f.task.normalize = normalize;
    f.task.lambda = 0.7;
    task_arithmetic_merge(f.task);
    expect_formula(f, [&](std::size_t i) {
      const double sum = 0.5 * f.delta(0, i) + 0.3 * f.delta(1, i) + 0.9 * f.delta(2, i);
      return f.base[i] + 0.7 * (normalize ? sum / 1.7 : sum);
    });
  }
}

TEST(TaskArithmeticMerge, LambdaZeroIsTheBase) {
  Fixture f;
  f.task.lambda = 0.0;
  task_arithmetic_merge(f.task);
  EXPECT_EQ(f.out, f.base);
}

using Deltas = std::vector<std::vector<double>>;

/// Elects a sign of the weighted differences and averages what agrees, in float64.
std::vector<double> elected_by_definition(const Fixture& f, const Deltas& kept) {
  std::vector<double> out(f.base.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    double election = 0.0;
    for (const auto& delta : kept) {
      election += delta[i];
    }
    double sum = 0.0;
    double divisor = 0.0;
    for (std::size_t m = 0; m < kept.size(); ++m) {
      if (kept[m][i] != 0.0 && (kept[m][i] > 0.0) == (election >= 0.0)) {
        sum += kept[m][i];
        divisor += f.task.inputs[m].weight;
      }
    }
    out[i] = f.base[i] + f.task.lambda * (f.task.normalize && divisor != 0.0 ? sum / divisor : sum);
  }
  return out;
}

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
    const double density = f.task.inputs[m].density;
    const auto k =
        density >= 1 ? n
        : density <= 0
            ? 0
            : std::max<std::size_t>(1, static_cast<std::size_t>(density * static_cast<double>(n)));
    for (std::size_t j = 0; j < k; ++j) {
      kept[m][order[j]] = f.delta(m, order[j]) * f.task.inputs[m].weight;
    }
  }
  return elected_by_definition(f, kept);
}

/// Whether element i of model m survives: 16 bits of Philox against the density.
bool is_drawn(const Fixture& f, std::size_t m, std::size_t i) {
  const std::uint64_t stream = stream_id("merging/dare/" + std::to_string(m) + "/" + f.task.name);
  const std::size_t lane = i % 1024 / 128;
  const auto block = static_cast<std::uint32_t>(i / 1024 * 128 + i % 128);
  const auto words = philox4x32(
      {block, 0, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
      {static_cast<std::uint32_t>(f.task.seed), 0});
  const std::uint32_t bits = (words[lane / 2] >> (16 * (lane % 2))) & 0xFFFFU;
  return bits < std::lround(f.task.inputs[m].density * 65536.0);
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
    const double density = f.task.inputs[m].density;
    const auto size = static_cast<double>(n);
    EXPECT_NEAR(static_cast<double>(count), density * size,
                4.5 * std::sqrt(density * (1 - density) * size) + 1e-9);
    for (double& delta : kept[m]) {
      delta *= (f.task.rescale && left > 1e-7 ? all / left : 1.0) * f.task.inputs[m].weight;
    }
  }
  return elected_by_definition(f, kept);
}

TEST(TiesMerge, EqualsItsDefinitionBySorting) {
  for (const bool normalize : {true, false}) {
    Fixture f;
    f.task.normalize = normalize;
    f.task.lambda = 1.3;
    f.task.inputs[0].density = 0.2;
    f.task.inputs[1].density = 0.55;
    f.task.inputs[2].density = 1.0;
    ties_merge(f.task);
    const auto expected = ties_by_definition(f);
    expect_formula(f, [&](std::size_t i) { return expected[i]; });
  }
}

TEST(TiesMerge, KeepsExactlyKWhenManyMagnitudesAreEqual) {
  Fixture f({0.5, 0.25, 1.0});  // exact in float32, so that an even vote is even in both
  // Differences on a coarse grid: nearly every magnitude occurs thousands of times.
  for (std::size_t i = 0; i < f.base.size(); ++i) {
    f.base[i] = std::round(f.base[i] * 4.0F) / 4.0F;
    for (Values& model : f.models) {
      model[i] = f.base[i] + std::round((model[i] - f.base[i]) * 16.0F) / 16.0F;
    }
  }
  for (const double density : {0.1, 0.4, 0.9}) {
    for (TensorTask::Input& input : f.task.inputs) {
      input.density = density;
    }
    f.task.normalize = true;
    ties_merge(f.task);
    const auto expected = ties_by_definition(f);
    expect_formula(f, [&](std::size_t i) { return expected[i]; });
  }
}

TEST(TiesMerge, OpposingSignsDoNotCancel) {
  Fixture f({1.0, 1.0, 1.0});
  std::fill(f.base.begin(), f.base.end(), 0.0F);
  std::fill(f.models[0].begin(), f.models[0].end(), 3.0F);
  std::fill(f.models[1].begin(), f.models[1].end(), -2.0F);
  std::fill(f.models[2].begin(), f.models[2].end(), 0.0F);
  f.task.normalize = true;
  ties_merge(f.task);
  EXPECT_EQ(f.out, Values(f.base.size(), 3.0F)) << "the minority and the zero have no say";
  std::fill(f.models[1].begin(), f.models[1].end(), -3.0F);
  ties_merge(f.task);
  EXPECT_EQ(f.out, Values(f.base.size(), 3.0F)) << "an even vote counts as +";
}

TEST(TiesMerge, EdgesOfDensityAndSize) {
  Fixture f;
  for (TensorTask::Input& input : f.task.inputs) {
    input.density = 0.0;
  }
  ties_merge(f.task);
  EXPECT_EQ(f.out, f.base) << "density 0 keeps nothing";
  for (TensorTask::Input& input : f.task.inputs) {
    input.density = 1e-9;
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
  Fixture a;
  for (std::size_t m = 0; m < 3; ++m) {
    a.task.inputs[m].density = 0.3 + 0.2 * static_cast<double>(m);
  }
  a.task.normalize = true;
  ties_merge(a.task);
  Fixture b;
  for (std::size_t m = 0; m < 3; ++m) {
    b.task.inputs[m].density = 0.3 + 0.2 * static_cast<double>(m);
  }
  std::swap(b.task.inputs[0], b.task.inputs[2]);
  b.task.normalize = true;
  ties_merge(b.task);
  expect_formula(a, [&](std::size_t i) { return static_cast<double>(b.out[i]); });
}

TEST(SelectMagnitudes, ThresholdIsTheKthLargest) {
  const Values zero(static_cast<std::size_t>(kCount), 0.0F);
  const Values values = random_values("select", 1e-3);
  const TileSource base = source(zero);
  const TileSource model = source(values);
  const TileSource* const models[] = {&model};
  std::vector<float> sorted(values.size());
  std::transform(values.begin(), values.end(), sorted.begin(), [](float x) { return std::abs(x); });
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (const std::int64_t k : {std::int64_t{1}, std::int64_t{2}, kCount / 2, kCount - 1}) {
    const double density[] = {(static_cast<double>(k) + 0.5) / static_cast<double>(kCount)};
    const auto cuts = select_magnitudes(kCount, base, models, density);
    float threshold = 0.0F;
    std::memcpy(&threshold, &cuts[0].threshold, sizeof(threshold));
    EXPECT_EQ(threshold, sorted[static_cast<std::size_t>(k - 1)]);
  }
}

TEST(DareTiesMerge, EqualsItsDefinition) {
  for (const bool rescale : {true, false}) {
    for (const std::uint64_t seed : {0, 7}) {
      Fixture f;
      f.task.rescale = rescale;
      f.task.normalize = seed == 7;
      f.task.seed = seed;
      f.task.lambda = 0.8;
      f.task.inputs[0].density = 0.2;
      f.task.inputs[1].density = 0.55;
      f.task.inputs[2].density = 1.0;
      dare_ties_merge(f.task);
      const auto expected = dare_ties_by_definition(f);
      expect_formula(f, [&](std::size_t i) { return expected[i]; });
    }
  }
}

TEST(DareTiesMerge, DrawsDependOnSeedModelAndTensorAndDensityZeroKeepsNothing) {
  Fixture f;
  f.task.rescale = true;
  for (TensorTask::Input& input : f.task.inputs) {
    input.density = 0.5;
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
    input.density = 0.0;
  }
  EXPECT_EQ(with(1, "a"), f.base);
}

/// What survives must be the first k by magnitude, the lower index first among equals.
void expect_first_k(const Values& values, double density, const std::string& label) {
  const auto n = static_cast<std::int64_t>(values.size());
  const Values zero(values.size(), 0.0F);
  const TileSource base = source(zero);
  const TileSource model = source(values);
  const TileSource* const models[] = {&model, &model};
  const double densities[] = {density, 1.0};
  const auto cuts = select_magnitudes(n, base, models, densities);
  EXPECT_TRUE(cuts[1].keep_all);
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&values](std::size_t a, std::size_t b) {
    return std::abs(values[a]) > std::abs(values[b]);
  });
  const auto k =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(density * static_cast<double>(n)));
  std::vector<char> expected(values.size(), 0);
  for (std::int64_t i = 0; i < k; ++i) {
    expected[order[static_cast<std::size_t>(i)]] = 1;
  }
  std::int64_t wrong = 0;
  for (std::int64_t tile = 0; tile < num_tiles(n); ++tile) {
    TileCut cut = cut_of_tile(cuts[0], tile);
    const std::int64_t end = std::min(n, (tile + 1) * kTileElements);
    for (std::int64_t i = tile * kTileElements; i < end; ++i) {
      const float magnitude = std::abs(values[static_cast<std::size_t>(i)]);
      std::uint32_t bits = 0;
      std::memcpy(&bits, &magnitude, sizeof(bits));
      bool kept = bits >= cut.at_least;
      if (kept && bits == cut.at_least && cut.ties_left >= 0) {
        kept = cut.ties_left-- > 0;
        cut.ties_left = std::max<std::int64_t>(cut.ties_left, 0);
      }
      const bool is_zero = magnitude == 0.0F;  // adds nothing, kept or not
      wrong += !is_zero && kept != (expected[static_cast<std::size_t>(i)] != 0) ? 1 : 0;
    }
  }
  EXPECT_EQ(wrong, 0) << label << ", n " << n << ", density " << density;
}

TEST(SelectMagnitudes, KeepsTheFirstKOfAnyDistribution) {
  const Philox random(7, stream_id("test/select"));
  using Shape = std::function<float(std::int64_t, std::int64_t)>;
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"normal", [&](auto i, auto) { return static_cast<float>(random.normal(i)); }},
      {"all equal", [](auto, auto) { return -0.25F; }},
      {"all zero", [](auto, auto) { return 0.0F; }},
      {"two values", [&](auto i, auto) { return random.uniform(i) < 0.3 ? 2.0F : -1.0F; }},
      {"mostly zero", [&](auto i, auto) { return random.uniform(i) < 0.9 ? 0.0F : 1e-30F * i; }},
      {"coarse",
       [&](auto i, auto) { return std::round(static_cast<float>(random.normal(i)) * 8); }},
      {"rising", [](auto i, auto) { return 1e-3F * static_cast<float>(i); }},
      {"few rows", [](auto i, auto n) { return i * 20 / n % 7 == 3 ? 1.0F + i % 13 : 1e-4F; }},
      {"last one", [](auto i, auto n) { return i + 1 == n ? 9.0F : 1e-4F * (1 + i % 997); }}};
  for (const std::int64_t n : {1, 63, 64, 100, 5000, 300001}) {
    for (const auto& [label, shape] : shapes) {
      Values values(static_cast<std::size_t>(n));
      for (std::int64_t i = 0; i < n; ++i) {
        values[static_cast<std::size_t>(i)] = shape(i, n);
      }
      for (const double density : {1e-9, 0.03, 0.3, 0.5, 0.97}) {
        expect_first_k(values, density, label);
      }
    }
  }
}

TEST(FisherMerge, EqualsItsFormula) {
  Fixture f;
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
    f.task.inputs[m].fisher_scale = scale;
  }
  fisher_merge(f.task);
  std::int64_t floored = 0;
  expect_formula(f, [&](std::size_t i) {
    double sum = 0.0;
    double divisor = 0.0;
    for (std::size_t m = 0; m < 3; ++m) {
      const double normalized = static_cast<double>(fishers[m][i]) * scale;
      floored += normalized < 1e-6 ? 1 : 0;
      const double precision = f.task.inputs[m].weight * std::max(normalized, 1e-6);
      sum += precision * f.models[m][i];
      divisor += precision;
    }
    return sum / divisor;
  });
  EXPECT_GT(floored, 100) << "the floor is exercised";
}

TEST(FisherMerge, RefusesNegativeFisherAndZeroWeights) {
  Fixture f;
  Values fisher = random_values("f", 1.0);
  for (TensorTask::Input& input : f.task.inputs) {
    input.fisher = source(fisher, "statistics of x");
  }
  EXPECT_ERROR(fisher_merge(f.task), kCorrupt, "statistics of x", "negative");
  std::fill(fisher.begin(), fisher.end(), 1.0F);
  for (TensorTask::Input& input : f.task.inputs) {
    input.weight = 0.0;
  }
  EXPECT_ERROR(fisher_merge(f.task), kInvalidArgument, "'t'", "sum to 0");
}

TEST(EveryMethod, NamesTheModelThatHoldsNaN) {
  for (const Method& method : methods()) {
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      Fixture f;
      const Values fisher(f.base.size(), 1.0F);
      for (TensorTask::Input& input : f.task.inputs) {
        input.fisher = source(fisher);
        input.density = 0.5;
      }
      f.models[1].back() = bad;
      EXPECT_ERROR(method.function(f.task), kCorrupt, "model 1", "NaN or infinity");
    }
  }
}

TEST(TileSink, RefusesOverflowAndRoundsToNearestEven) {
  std::vector<std::uint16_t> stored(4);
  TileSink sink{.dtype = at::kBFloat16,
                .label = "tensor 't'",
                .put = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
                  std::memcpy(reinterpret_cast<std::byte*>(stored.data()) + offset, bytes.data(),
                              bytes.size());
                }};
  const float values[] = {1.0F, 1.0F + 0x1p-8F, 1.0F + 3 * 0x1p-8F, -1.0F - 0x1.8p-8F};
  sink.write(0, 4, values);
  EXPECT_EQ(stored, (std::vector<std::uint16_t>{0x3f80, 0x3f80, 0x3f82, 0xbf81}));
  const float large[] = {3.4e38F};
  EXPECT_ERROR(sink.write(0, 1, large), kCorrupt, "tensor 't'", "not finite", "BFloat16");
  sink.dtype = at::kHalf;
  const float wide[] = {70000.0F};
  EXPECT_ERROR(sink.write(0, 1, wide), kCorrupt, "Half");
}

TEST(TileSource, ReadsEveryDtypeUnaligned) {
  const Philox random(1, 1);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const std::size_t size = c10::elementSize(dtype);
    Values expected(100);
    std::vector<std::byte> bytes(100 * size + 1);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = static_cast<float>(random.below(i, 17)) - 8.0F;  // exact in every dtype
      std::byte* at = bytes.data() + 1 + i * size;
      if (dtype == at::kFloat) {
        std::memcpy(at, &expected[i], size);
      } else if (dtype == at::kDouble) {
        const double x = expected[i];
        std::memcpy(at, &x, size);
      } else if (dtype == at::kBFloat16) {
        const c10::BFloat16 x(expected[i]);
        std::memcpy(at, &x, size);
      } else {
        const c10::Half x(expected[i]);
        std::memcpy(at, &x, size);
      }
    }
    const TileSource s{.bytes = std::span(bytes).subspan(1), .dtype = dtype, .label = "x"};
    Values got(90);
    s.load(10, 90, got.data());
    EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin() + 10)) << dtype;
  }
}

}  // namespace
}  // namespace growmerge::merging
