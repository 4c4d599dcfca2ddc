#include "core/base/progress.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

namespace growmerge {
namespace {

/// The last line that is printed for these counts, 50 ms apart.
std::string printed(std::int64_t first, std::int64_t second) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("work", 2000, "steps", true);
    progress.update(first);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    progress.update(second);
  }
  return ::testing::internal::GetCapturedStderr();
}

double rate_of(const std::string& line) {
  const std::size_t at = line.find("steps, ");
  return at == std::string::npos ? -1.0 : std::atof(line.c_str() + at + 7);
}

TEST(Progress, RateIsThatOfThisProcessAfterAResume) {
  const std::string line = printed(1000, 1010);
  EXPECT_NE(line.find("work: 1010/2000 steps"), std::string::npos) << line;
  // 10 steps in at least 50 ms, and not 1010.
  EXPECT_GT(rate_of(line), 0.0) << line;
  EXPECT_LE(rate_of(line), 200.0) << line;
}

TEST(Progress, OneUpdateAloneHasTheRateSinceTheStart) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("work", 10, "steps", true);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    progress.update(10);
  }
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_GT(rate_of(line), 0.0) << line;
  EXPECT_LE(rate_of(line), 200.0) << line;
}

}  // namespace
}  // namespace growmerge
