#include "core/base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace growmerge {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Philox, MatchesPublishedKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Philox, NormalHasUnitMoments) {
  const Philox random(7, stream_id("test"));
  double sum = 0.0;
  double squares = 0.0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.normal(static_cast<std::uint64_t>(i));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(squares / kCount, 1.0, 0.02);
}

TEST(PermutedIndex, IsAPermutationForAwkwardSizes) {
  for (const std::uint64_t size : {1u, 2u, 3u, 5u, 17u, 1000u}) {
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t image = permuted_index(i, size, 3, 4);
      EXPECT_LT(image, size);
      seen.insert(image);
    }
    EXPECT_EQ(seen.size(), size);
  }
}

TEST(PermutedIndex, DependsOnSeedAndStream) {
  int same = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    same += permuted_index(i, 1000, 1, 1) == permuted_index(i, 1000, 2, 1) ? 1 : 0;
    same += permuted_index(i, 1000, 1, 1) == permuted_index(i, 1000, 1, 2) ? 1 : 0;
  }
  EXPECT_LT(same, 30);
}

TEST(Philox, FillEqualsTheBlocksOneByOne) {
  const std::uint64_t seed = 0x123456789abcdef0ULL;
  const std::uint64_t stream = 0x0fedcba987654321ULL;
  for (const std::int64_t count : {1, 15, 16, 37, 128}) {
    const std::uint64_t first = 0xfffffff0ULL;  // crosses into the upper half of the counter
    std::vector<std::uint32_t> out(static_cast<std::size_t>(4 * count));
    philox_fill(seed, stream, first, count, out.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint64_t position = first + static_cast<std::uint64_t>(i);
      const auto expected = philox4x32(
          {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
           static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
          {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
      for (std::int64_t word = 0; word < 4; ++word) {
        EXPECT_EQ(out[static_cast<std::size_t>(word * count + i)],
                  expected[static_cast<std::size_t>(word)])
            << count << " " << i << " " << word;
      }
    }
  }
}

}  // namespace
}  // namespace growmerge
