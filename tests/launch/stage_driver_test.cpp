#include "launch/stage_driver.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/launch/run_binary.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

using testing::TemporaryDirectory;
using testing::write_text;

StagePlan plan_of(const std::string& model, const std::string& rest = "lr: 1\n") {
  StagePlan out;
  out.stage = "train";
  out.config = "model: " + yaml_quote(model) + "\n" + rest;
  out.inputs = {{"model", model}};
  return out;
}

TEST(StageIdentity, DoesNotDependOnWhereInputsLie) {
  TemporaryDirectory dir;
  write_text(dir.path() / "a/model.txt", "same");
  write_text(dir.path() / "b/other/model.txt", "same");
  const Manifest a = planned_manifest(plan_of((dir.path() / "a").string()));
  const Manifest b = planned_manifest(plan_of((dir.path() / "b/other").string()));
  EXPECT_EQ(a.identity, b.identity);
  EXPECT_EQ(a.config, "model: <model>\nlr: 1\n");
  EXPECT_EQ(describe_change(a, b), "");
}

TEST(StageIdentity, ChangesAreNamed) {
  TemporaryDirectory dir;
  write_text(dir.path() / "m/model.txt", "one");
  const std::string model = (dir.path() / "m").string();
  const Manifest before = planned_manifest(plan_of(model));
  const Manifest other_lr = planned_manifest(plan_of(model, "lr: 2\n"));
  EXPECT_NE(before.identity, other_lr.identity);
  EXPECT_NE(describe_change(before, other_lr).find("config - lr: 1"), std::string::npos);
  EXPECT_NE(describe_change(before, other_lr).find("config + lr: 2"), std::string::npos);
  write_text(dir.path() / "m/model.txt", "two, and longer");
  const Manifest other_model = planned_manifest(plan_of(model));
  EXPECT_NE(describe_change(before, other_model).find("input 'model' has changed"),
            std::string::npos);
}

TEST(StageIdentity, MissingInputIsNamed) {
  try {
    (void)planned_manifest(plan_of("/nowhere/model"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(e.what()).find("/nowhere/model"), std::string::npos);
  }
}

TEST(Formats, NumbersReadWell) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1.5e9), "1.5 GB");
  EXPECT_EQ(format_flops(2.5e15), "2.50 PFLOP");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(12), "12");
}

}  // namespace
}  // namespace growmerge::launch
