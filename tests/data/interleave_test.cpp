#include "data/interleave.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

void expect_fair(const Interleave& interleave, std::int64_t rows) {
  const auto& parts = interleave.parts();
  std::vector<std::int64_t> counts(parts.size(), 0);
  for (std::int64_t row = 0; row < rows; ++row) {
    const Interleave::Place place = interleave.at(row);
    const auto source = static_cast<std::size_t>(place.source);
    ASSERT_EQ(place.index, counts[source]);  // each source's rows in order, without a gap
    ++counts[source];
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const double fair = static_cast<double>(row + 1) * static_cast<double>(parts[i]) /
                          static_cast<double>(interleave.period());
      ASSERT_LT(std::abs(static_cast<double>(counts[i]) - fair), 1.0) << "row " << row;
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(interleave.count(static_cast<std::int32_t>(i), rows), counts[i]);
  }
}

TEST(Interleave, EveryPrefixIsWithinOneRowOfItsShare) {
  for (const std::vector<std::int64_t>& parts :
       std::vector<std::vector<std::int64_t>>{{1},
                                              {1, 1},
                                              {1, 4},
                                              {3, 5, 7, 11},
                                              {1, 1, 1, 1, 1, 1, 1, 1, 1, 991},
                                              {0, 2, 0, 3},
                                              {17, 17, 300, 1, 1, 664}}) {
    const Interleave interleave(parts);
    expect_fair(interleave, 3 * interleave.period() + 1);
  }
}

TEST(Interleave, SimpleSharesAreExact) {
  const std::vector<double> shares{0.2, 0.8};
  const Interleave interleave = Interleave::from_shares(shares);
  EXPECT_EQ(interleave.parts(), (std::vector<std::int64_t>{1, 4}));
  const std::vector<double> weights{2.0, 1.0, 1.0};
  EXPECT_EQ(Interleave::from_shares(weights).parts(), (std::vector<std::int64_t>{2, 1, 1}));
}

TEST(Interleave, AwkwardSharesAreWithinAMillionth) {
  const std::vector<double> shares{0.123456789, std::sqrt(0.5), 0.01};
  const double sum = shares[0] + shares[1] + shares[2];
  const Interleave interleave = Interleave::from_shares(shares);
  for (std::size_t i = 0; i < shares.size(); ++i) {
    EXPECT_NEAR(
        static_cast<double>(interleave.parts()[i]) / static_cast<double>(interleave.period()),
        shares[i] / sum, 1e-6);
  }
  expect_fair(interleave, 20000);
}

TEST(Interleave, NonsenseIsRefused) {
  EXPECT_THROW(Interleave(std::vector<std::int64_t>{}), Error);
  EXPECT_THROW(Interleave(std::vector<std::int64_t>{0, 0}), Error);
  EXPECT_THROW(Interleave(std::vector<std::int64_t>{-1, 2}), Error);
  EXPECT_THROW((void)Interleave::from_shares(std::vector<double>{0.0}), Error);
  EXPECT_THROW((void)Interleave::from_shares(std::vector<double>{std::nan(""), 1.0}), Error);
}

}  // namespace
}  // namespace growmerge::data
