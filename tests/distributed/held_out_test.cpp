#include "distributed/held_out.h"

#include <gtest/gtest.h>

namespace growmerge::distributed {
namespace {

TEST(RowsOfRank, CoverEveryRowOnceEvenly) {
  for (const std::int64_t count : {0, 1, 7, 8, 13}) {
    for (const int size : {1, 2, 3, 4, 9}) {
      std::int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const RowRange mine = rows_of_rank(count, rank, size);
        EXPECT_EQ(mine.begin, next);
        const std::int64_t rows = mine.end - mine.begin;
        EXPECT_TRUE(rows == count / size || rows == count / size + 1);
        next = mine.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

}  // namespace
}  // namespace growmerge::distributed
