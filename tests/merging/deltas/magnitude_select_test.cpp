#include "merging/deltas/magnitude_select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "core/base/random.h"
#include "tests/merging/methods/method_fixture.h"

namespace growmerge::merging {
namespace {

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

}  // namespace
}  // namespace growmerge::merging
