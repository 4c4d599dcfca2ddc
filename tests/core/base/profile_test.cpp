#include "core/base/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

namespace growmerge::profile {
namespace {

void wait_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(Profile, OwnTimeIsWithoutWhatIsInside) {
  { const Scope before("before"); }
  start();
  {
    const Scope outer("outer", [] { return Work{.flops = 2e9, .bytes = 1e6}; });
    wait_ms(5);
    for (int i = 0; i < 2; ++i) {
      const Scope inner("inner");
      wait_ms(10);
    }
  }
  const std::vector<Event> events = stop();
  { const Scope after("after"); }
  ASSERT_EQ(events.size(), 3U) << "scopes outside of the window are not recorded";
  EXPECT_STREQ(events[0].name, "inner");
  EXPECT_STREQ(events[0].parent, "outer");
  EXPECT_STREQ(events[2].name, "outer");
  EXPECT_STREQ(events[2].parent, "");
  EXPECT_GE(events[0].own_ns, 10'000'000);
  EXPECT_EQ(events[2].own_ns,
            events[2].end_ns - events[2].begin_ns - events[0].own_ns - events[1].own_ns);
  const std::string text = table(events, {.gb_per_s = 10.0}, 1000.0);
  EXPECT_LT(text.find("| outer: inner | 2 |"), text.find("| outer | 1 |")) << text;
}

TEST(Profile, ScopesThatAreOpenWhenAWindowBeginsOrEndsAreLeftOut) {
  std::vector<Event> events;
  {
    const Scope early("early");
    start();
    { const Scope inside("inside"); }
    {
      const Scope late("late");
      events = stop();
    }
  }
  ASSERT_EQ(events.size(), 1U);
  EXPECT_STREQ(events[0].name, "inside");
  start();
  { const Scope again("again"); }
  EXPECT_EQ(stop().size(), 1U);
}

TEST(Profile, ChromeTraceHasEveryEvent) {
  start();
  std::thread([] { const Scope other("other"); }).join();
  {
    const Scope mine("mine", [] { return Work{.flops = 3e9, .bytes = 2e6}; });
    wait_ms(2);
  }
  const auto json = nlohmann::json::parse(chrome_trace(stop(), 4));
  ASSERT_EQ(json["traceEvents"].size(), 2U);
  const auto& mine = json["traceEvents"][1];
  EXPECT_EQ(mine["name"], "mine");
  EXPECT_EQ(mine["ph"], "X");
  EXPECT_EQ(mine["pid"], 4);
  EXPECT_GE(mine["dur"].get<double>(), 2000.0);
  EXPECT_GE(mine["ts"].get<double>(), 0.0);
  EXPECT_EQ(mine["args"]["gflop"], 3.0);
  EXPECT_NE(mine["tid"], json["traceEvents"][0]["tid"]);
}

TEST(Profile, LimitsArePlausible) {
  const Limits limits = measure_limits();
  EXPECT_GT(limits.gflops_float32, 0.1);
  EXPECT_GT(limits.gflops_bfloat16, 0.1);
  EXPECT_GT(limits.gb_per_s, 0.1);
}

}  // namespace
}  // namespace growmerge::profile
