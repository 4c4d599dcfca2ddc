#include "launch/headroom.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

TEST(Headroom, WhatDoesNotFitIsRefusedWithNeededAndThere) {
  const testing::TemporaryDirectory dir;
  EXPECT_NO_THROW(require_disk(dir.path(), 1.0, "checkpoints"));
  EXPECT_ERROR(require_disk(dir.path(), 5e18, "checkpoints"), kIo, dir.path().string(),
               "checkpoints need 5000000.0 TB", "free", "keep_last");
  EXPECT_NO_THROW(require_memory(1.0, "training"));
  ASSERT_GT(available_memory().value_or(0.0), 1e6);
  EXPECT_ERROR(require_memory(5e18, "training on 2 rank(s) of this machine"), kInvalidArgument,
               "training on 2 rank(s) of this machine needs 5000000.0 TB of memory", "available");
}

TEST(Headroom, ADirectoryThatIsNotThereIsNoReasonToRefuse) {
  EXPECT_NO_THROW(require_disk("/nowhere/at/all", 5e18, "checkpoints"));
}

}  // namespace
}  // namespace growmerge::launch
