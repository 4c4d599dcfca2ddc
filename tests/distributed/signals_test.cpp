#include "distributed/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

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

TEST(StopSignals, CtrlCAsksOnceAndEndsTheSecondTime) {
  EXPECT_EXIT(
      {
        struct sigaction usual = {};
        usual.sa_handler = SIG_DFL;
        sigaction(SIGINT, &usual, nullptr);
        const StopSignals signals;
        raise(SIGINT);
        if (StopSignals::requested() != SIGINT) {
          _exit(1);
        }
        raise(SIGINT);  // timeout(1) sends it to the process and to its group
        usleep((kSameSignalMs + 20) * 1000);
        std::fprintf(stderr, "still here");
        raise(SIGINT);
        _exit(2);
      },
      ::testing::KilledBySignal(SIGINT), "still here");
}

TEST(StopSignals, AnIgnoredCtrlCStaysIgnored) {
  struct sigaction ignored = {};
  struct sigaction before;
  ignored.sa_handler = SIG_IGN;
  sigaction(SIGINT, &ignored, &before);
  StopSignals::clear();
  {
    const StopSignals signals;
    raise(SIGINT);
    EXPECT_EQ(StopSignals::requested(), 0);
  }
  sigaction(SIGINT, &before, nullptr);
}

}  // namespace
}  // namespace growmerge::distributed
