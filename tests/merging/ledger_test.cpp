#include "merging/ledger.h"
#include "core/store/stage_output.h"

#include <gtest/gtest.h>

#include "core/store/manifest.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

struct Made {
  std::string name;
  std::string stage;
  double flops = 0.0;
  std::vector<InputRecord> inputs;  // path: name of a made directory
};

class LedgerTest : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return dir_.path() / name; }

  /// A finished stage whose totals are those of its first input plus its own, as stages write them.
  void make(Made made) {
    StageOutput output(path(made.name));
    Manifest m;
    m.stage = made.stage;
    m.config = made.name;
    m.flops = made.flops;
    m.tokens = static_cast<std::int64_t>(made.flops);
    for (InputRecord input : made.inputs) {
      const Manifest before = read_manifest(path(input.path)).value();
      m.flops_total = std::max(m.flops_total, before.flops_total);
      m.tokens_total = std::max(m.tokens_total, before.tokens_total);
      input.path = path(input.path).string();
      input.identity = before.identity;
      m.inputs.push_back(input);
    }
    m.flops_sunk = made.stage == "upscale" ? m.flops_total : 0.0;
    if (made.stage == "stats") {
      m.flops_total = 0.0;
      m.tokens_total = 0;
    } else {
      m.flops_total += m.flops;
      m.tokens_total += m.tokens;
    }
    output.finish(m);
  }

  void make_siblings() {
    make({"base", "train", 100, {}});
    make({"grown", "upscale", 0, {{"model", "base", ""}}});
    make({"sv1", "train", 10, {{"model", "grown", ""}}});
    make({"sv2", "train", 20, {{"model", "sv1", ""}}});
    make({"de1", "train", 30, {{"model", "grown", ""}}});
    make({"de2", "train", 40, {{"model", "de1", ""}, {"data 0", "base", ""}}});
  }

 private:
  testing::TemporaryDirectory dir_;
};

TEST_F(LedgerTest, EveryStageOfEverySiblingCountsOnce) {
  make_siblings();
  const Ledger ledger =
      ledger_of({.models = {path("sv2"), path("de2")}, .others = {path("grown")}});
  EXPECT_DOUBLE_EQ(ledger.flops_total, 100 + 10 + 20 + 30 + 40);
  EXPECT_EQ(ledger.tokens_total, 200);
  EXPECT_DOUBLE_EQ(ledger.flops_sunk, 100) << "what came before the growth";
  EXPECT_EQ(ledger.warning, "");
}

TEST_F(LedgerTest, AMergeOfMergesCountsAllParts) {
  make_siblings();
  make(
      {"one", "merge", 0, {{"base", "grown", ""}, {"model 0", "sv1", ""}, {"model 1", "de1", ""}}});
  make({"two", "merge", 0, {{"model 0", "sv2", ""}, {"model 1", "de2", ""}}});
  const Ledger ledger = ledger_of({.models = {path("one"), path("two")}, .others = {}});
  EXPECT_DOUBLE_EQ(ledger.flops_total, 200);
  EXPECT_EQ(ledger.warning, "");
}

TEST_F(LedgerTest, StatisticsAreCounted) {
  make_siblings();
  make({"sv-stats", "stats", 3, {{"model", "sv1", ""}}});
  make({"de-stats", "stats", 4, {{"model", "de1", ""}}});
  const LedgerInputs inputs{.models = {path("sv1"), path("de1")},
                            .others = {path("sv-stats"), path("de-stats")}};
  EXPECT_DOUBLE_EQ(ledger_of(inputs).flops_total, 147);
  fs::remove_all(path("grown"));
  const Ledger estimated = ledger_of(inputs);
  EXPECT_DOUBLE_EQ(estimated.flops_total, 147) << "siblings of one checkpoint";
  EXPECT_EQ(estimated.warning, "");
}

TEST_F(LedgerTest, AMissingStageGivesALowerBoundAndAWarning) {
  make_siblings();
  fs::remove_all(path("de1"));
  const Ledger ledger = ledger_of({.models = {path("sv2"), path("de2")}, .others = {}});
  EXPECT_DOUBLE_EQ(ledger.flops_total, 20 + 40 + 130);
  EXPECT_NE(ledger.warning.find("lower bound"), std::string::npos);
  EXPECT_NE(ledger.warning.find(path("de1").string()), std::string::npos);
}

TEST_F(LedgerTest, OutsideModelsCostNothing) {
  fs::create_directories(path("outside"));
  const Ledger ledger = ledger_of({.models = {path("outside")}, .others = {}});
  EXPECT_EQ(ledger.flops_total, 0.0);
  EXPECT_EQ(ledger.warning, "");
}

}  // namespace
}  // namespace growmerge::merging
