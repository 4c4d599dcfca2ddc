#include "distributed/signals.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace growmerge::distributed {
namespace {

TEST(StopSignals, AreRememberedAndHandlersRestored) {
  struct sigaction before;
  sigaction(SIGTERM, nullptr, &before);
  StopSignals::clear();
  {
    const StopSignals outer;
    const StopSignals inner;
    EXPECT_EQ(StopSignals::requested(), 0);
    raise(SIGUSR1);
    EXPECT_EQ(StopSignals::requested(), SIGUSR1);
    EXPECT_STREQ(stop_signal_name(SIGUSR1), "SIGUSR1");
    raise(SIGTERM);
    EXPECT_EQ(StopSignals::requested(), SIGTERM);
  }
  struct sigaction after;
  sigaction(SIGTERM, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
  StopSignals::clear();
}

}  // namespace
}  // namespace growmerge::distributed
