#include "launch/stage_plan.h"

#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/store/stage_output.h"
#include "launch/stage_identity.h"
#include "tests/launch/run_binary.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

using testing::TemporaryDirectory;
using testing::write_text;

StagePlan plan_of(const std::string& lr) {
  StagePlan out;
  out.stage = "train";
  out.config = "lr: " + lr + "\n";
  out.fields = {{"lr", lr}};
  return out;
}

TEST(StagePlan, SaysWhatLiesWhereTheStageIsToWrite) {
  const TemporaryDirectory dir;
  const std::filesystem::path out = dir.path() / "out";
  EXPECT_EQ(plan_stage(plan_of("1"), "").state, OutputState::kNew);
  EXPECT_EQ(plan_stage(plan_of("1"), out).state, OutputState::kNew);

  write_text(out / "notes.txt", "mine");
  EXPECT_EQ(plan_stage(plan_of("1"), out).state, OutputState::kForeign);
  std::filesystem::remove_all(out);

  const Manifest manifest = planned_manifest(plan_of("1"));
  {
    StageOutput output(out, true);
    EXPECT_EQ(plan_stage(plan_of("1"), out).state, OutputState::kUnfinished);
    EXPECT_FALSE(plan_stage(plan_of("1"), out).begun.has_value());
    mark_begun(out, manifest);
    mark_begun(out, planned_manifest(plan_of("2")));
    EXPECT_EQ(plan_stage(plan_of("2"), out).begun, manifest.identity) << "the first counts";
    finish_begun(out);
    output.finish(manifest);
  }
  const PlannedStage same = plan_stage(plan_of("1"), out);
  EXPECT_EQ(same.state, OutputState::kUpToDate);
  EXPECT_EQ(same.manifest.identity, manifest.identity);
  const PlannedStage other = plan_stage(plan_of("2"), out);
  EXPECT_EQ(other.state, OutputState::kChanged);
  EXPECT_EQ(other.change, "  config - lr: 1\n  config + lr: 2\n");
}

}  // namespace
}  // namespace growmerge::launch
