#include "launch/experiment/launcher.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace growmerge::launch {
namespace {

using Words = std::vector<std::string>;

ExperimentStage stage_on(int ranks, int threads) {
  ExperimentStage out;
  out.command = &find_command("train");
  out.dir = "runs/e/base";
  out.ranks = ranks;
  out.threads = threads;
  return out;
}

TEST(LocalStart, OneRankIsAPlainProcess) {
  const StageStart start = local_start(stage_on(1, 0), {}, "runs/e/base.yaml");
  ASSERT_EQ(start.arguments.size(), 6u);
  EXPECT_EQ(Words(start.arguments.begin() + 1, start.arguments.end()),
            (Words{"train", "--config", "runs/e/base.yaml", "--out", "runs/e/base"}));
  EXPECT_TRUE(start.environment.empty());
}

TEST(LocalStart, MoreRanksStandUnderMpirunWithTheirThreads) {
  RunSettings settings;
  settings.mpirun = "/opt/mpirun";
  settings.mpirun_options = {"--an-option"};
  const StageStart alone = local_start(stage_on(1, 3), settings, "c.yaml");
  const StageStart start = local_start(stage_on(2, 3), settings, "c.yaml");
  EXPECT_EQ(Words(start.arguments.begin(), start.arguments.begin() + 3),
            (Words{"/opt/mpirun", "-np", "2"}));
  const auto option = std::find(start.arguments.begin(), start.arguments.end(), "--an-option");
  EXPECT_EQ(Words(option + 1, start.arguments.end()), alone.arguments)
      << "the stage's own words stand last";
  EXPECT_EQ(start.environment.at("OMP_NUM_THREADS"), "3");
}

}  // namespace
}  // namespace growmerge::launch
