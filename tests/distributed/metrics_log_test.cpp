#include "distributed/metrics_log.h"
#include "core/base/files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "core/base/error.h"
#include "tests/support/paths.h"

namespace growmerge::distributed {
namespace {

TEST(MetricsLog, ResumingDropsLaterLinesAndATornOne) {
  const testing::TemporaryDirectory dir;
  {
    MetricsLog log(dir.path(), 0);
    for (int step = 1; step <= 4; ++step) {
      log.write(step, {{"loss", 0.1 * step}});
    }
  }
  std::ofstream(dir.path() / "metrics.jsonl", std::ios::app) << "{\"step\": 5, \"lo";
  MetricsLog(dir.path(), 2).write(3, {{"loss", 9.0}});
  EXPECT_EQ(read_file(dir.path() / "metrics.jsonl"),
            "{\"step\":1,\"loss\":0.1}\n{\"step\":2,\"loss\":0.2}\n{\"step\":3,\"loss\":9.0}\n");
}

TEST(MetricsLog, WhatIsWrittenAgainIsDroppedAtTheStepOfResumingAlone) {
  const testing::TemporaryDirectory dir;
  {
    MetricsLog log(dir.path(), 0);
    for (int step = 1; step <= 2; ++step) {
      log.write(step, {{"loss", 0.1 * step}});
      log.write(step, {{"held_out_loss", 1.0 * step}});
    }
  }
  MetricsLog(dir.path(), 2, "held_out_loss").write(2, {{"held_out_loss", 5.0}});
  EXPECT_EQ(read_file(dir.path() / "metrics.jsonl"),
            "{\"step\":1,\"loss\":0.1}\n{\"step\":1,\"held_out_loss\":1.0}\n"
            "{\"step\":2,\"loss\":0.2}\n{\"step\":2,\"held_out_loss\":5.0}\n");
}

TEST(MetricsLog, NotANumberIsNull) {
  const testing::TemporaryDirectory dir;
  MetricsLog(dir.path(), 0).write(1, {{"x", std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_EQ(read_file(dir.path() / "metrics.jsonl"), "{\"step\":1,\"x\":null}\n");
}

TEST(MetricsLog, ABrokenLineIsNamed) {
  const testing::TemporaryDirectory dir;
  std::ofstream(dir.path() / "metrics.jsonl") << "{\"step\":1}\n[3]\n";
  try {
    MetricsLog log(dir.path(), 5);
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCorrupt);
    EXPECT_NE(std::string(e.what()).find("metrics.jsonl:2: expected"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace growmerge::distributed
