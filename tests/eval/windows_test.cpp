#include "eval/windows.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/error.h"
#include "eval/request_set.h"

namespace growmerge::eval {
namespace {

TEST(Windows, EveryTokenIsScoredOnceWithHalfAContextBehindIt) {
  for (std::int64_t context = 1; context <= 9; ++context) {
    const std::int64_t stride = std::max<std::int64_t>(1, context / 2);
    for (std::int64_t length = 1; length <= 40; ++length) {
      std::vector<int> scored(static_cast<std::size_t>(length), 0);
      for (const Window& window : make_windows(length, 1, context, stride)) {
        ASSERT_LE(window.end - window.begin, context);
        ASSERT_LT(window.end, length);
        ASSERT_GT(window.first_scored, window.begin);
        for (std::int64_t i = window.first_scored; i <= window.end; ++i) {
          ++scored[static_cast<std::size_t>(i)];
          // Context of token i: inputs begin .. i - 1; all there is, or at least context - stride.
          EXPECT_GE(i - window.begin, std::min(i, context - stride));
        }
      }
      EXPECT_EQ(scored[0], 0) << "the prefix is never scored";
      EXPECT_TRUE(std::all_of(scored.begin() + 1, scored.end(), [](int n) { return n == 1; }))
          << "length " << length << ", context " << context;
    }
  }
}

TEST(Windows, ContextOfFourByHand) {
  // s = [p a b c d e f g]: inputs p a b c predict a b c d; b c d e predict e; d e f predict f g.
  const auto windows = make_windows(8, 1, 4, 2);
  ASSERT_EQ(windows.size(), 3U);
  EXPECT_EQ(windows[1].begin, 2);
  EXPECT_EQ(windows[1].end, 6);
  EXPECT_EQ(windows[1].first_scored, 5);
  EXPECT_EQ(windows[2].begin, 4);
  EXPECT_EQ(windows[2].end, 7);
  EXPECT_EQ(windows[2].first_scored, 7);
  EXPECT_TRUE(make_windows(1, 1, 4, 2).empty());
  EXPECT_THROW((void)make_windows(8, 1, 4, 5), Error);
}

TEST(RequestSet, SharesEqualSequencesAndAddsUpWindows) {
  RequestSet set(4);
  EXPECT_EQ(set.add({9, 1, 2}, 1), 1);
  EXPECT_EQ(set.add({9, 1, 2}, 1), 1);
  EXPECT_EQ(set.add({9, 1, 2}, 2), 1);  // another first token: another request
  EXPECT_EQ(set.add({9, 1, 2, 3, 4, 5, 6, 7}, 1), 3);
  EXPECT_EQ(set.requests().size(), 5U);
  EXPECT_EQ(set.sequence_of(1), 2);
  EXPECT_EQ(set.requests()[3].tokens, (std::vector<std::int32_t>{2, 3, 4, 5, 6}));
  EXPECT_EQ(set.requests()[3].first_scored, 3);
  EXPECT_EQ(set.combine({1, 2, 4, 8, 16}), (std::vector<double>{1, 1, 2, 28}));
}

TEST(RequestSet, LaterWindowsMayBeginWithThePrefix) {
  RequestSet set(4, 9);
  set.add({9, 1, 2, 3, 4, 5, 6}, 1);
  std::vector<int> scored(7, 0);
  for (std::size_t i = 0; i < set.requests().size(); ++i) {
    const ScoreRequest& request = set.requests()[i];
    EXPECT_EQ(request.tokens.front(), 9);
    EXPECT_LE(request.tokens.size(), 5U);
    for (std::size_t k = static_cast<std::size_t>(request.first_scored); k < request.tokens.size();
         ++k) {
      ++scored[static_cast<std::size_t>(request.tokens[k])];
    }
  }
  EXPECT_EQ(scored, (std::vector<int>{0, 1, 1, 1, 1, 1, 1}));
}

}  // namespace
}  // namespace growmerge::eval
