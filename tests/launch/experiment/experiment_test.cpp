#include "launch/experiment/experiment.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/store/file_lock.h"
#include "launch/experiment/schedule.h"
#include "tests/launch/run_binary.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

using testing::TemporaryDirectory;
using testing::write_text;

class ExperimentTest : public ::testing::Test {
 protected:
  Experiment load(const std::string& text, std::vector<std::string> overrides = {}) {
    write_text(dir_.path() / "e.yaml", text);
    write_text(dir_.path() / "tokenizer.json", "{}");
    write_text(dir_.path() / "text/nl.txt", "een");
    write_text(dir_.path() / "text/is.txt", "einn");
    overrides.push_back("vars.root=" + dir_.path().string());
    return load_experiment(dir_.path() / "e.yaml", overrides, (dir_.path() / "out").string());
  }
  std::string error_of(const std::string& text, std::vector<std::string> overrides = {}) {
    try {
      (void)load(text, std::move(overrides));
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  TemporaryDirectory dir_;
};

constexpr const char* kTwoLanguages = R"(
vars: {root: "", languages: [nl, is]}
run: {ranks: 2}
stages:
  report:
    command: report
    config: {results: ["${stages.eval}"]}
  eval:
    command: eval
    ranks: 1
    config:
      models: [{path: "${root}"}]
      tasks: [{kind: bpb, path: ["${root}/text/nl.txt"]}]
    needs: "shards-nl"
  shards-${lang}:
    for_each: {lang: "${languages}"}
    command: tokenize
    threads: 1
    config:
      tokenizer: ${root}/tokenizer.json
      inputs: [{path: "${root}/text/${lang}.txt", language: "${lang}"}]
)";

TEST_F(ExperimentTest, StagesStandBehindWhatTheyNeed) {
  const Experiment e = load(kTwoLanguages);
  std::vector<std::string> names;
  for (const ExperimentStage& stage : e.stages) {
    names.push_back(stage.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"shards-nl", "eval", "report", "shards-is"}));
  EXPECT_EQ(e.stages[0].ranks, 2);
  EXPECT_EQ(e.stages[0].threads, 1);
  EXPECT_EQ(e.stages[1].ranks, 1);
  EXPECT_EQ(e.stages[1].needs, std::vector<std::string>{"shards-nl"});
  EXPECT_EQ(e.stages[2].ranks, 1) << "report works on one rank whatever the default is";
  EXPECT_EQ(e.stages[2].config.find("results")->items[0].scalar,
            (dir_.path() / "out" / "eval").string());
}

TEST_F(ExperimentTest, OverridesReachKeysAndVariables) {
  const Experiment e = load(kTwoLanguages, {"languages=[nl]", "run.ranks=3"});
  EXPECT_EQ(e.stages.size(), 3u);
  EXPECT_EQ(e.stages[0].ranks, 3);
  EXPECT_NE(error_of(kTwoLanguages, {"langages=[nl]"}).find("did you mean 'languages'"),
            std::string::npos);
}

TEST_F(ExperimentTest, DefaultsLieUnderAStagesOwnConfig) {
  const Experiment e = load(
      concat(kTwoLanguages, "defaults:\n  eval: {bootstrap_resamples: 300, batch_tokens: 64}\n"));
  const auto eval = std::find_if(e.stages.begin(), e.stages.end(),
                                 [](const ExperimentStage& s) { return s.name == "eval"; });
  EXPECT_EQ(eval->config.find("bootstrap_resamples")->as_int(), 300);
  EXPECT_NE(eval->config.find("tasks"), nullptr);
}

TEST_F(ExperimentTest, EveryMistakeIsFoundBeforeAnythingRuns) {
  const std::string good = kTwoLanguages;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return error_of(text);
  };
  EXPECT_NE(with("tasks:", "taks:").find("did you mean 'tasks'"), std::string::npos);
  EXPECT_NE(with("tasks:", "taks:").find("e.yaml:13"), std::string::npos);
  EXPECT_NE(with("command: eval", "command: evaluate").find("unknown command"), std::string::npos);
  EXPECT_NE(with("command: eval", "command: inspect").find("cannot be a stage"), std::string::npos);
  EXPECT_NE(with("${stages.eval}", "${stages.evil}").find("did you mean 'eval'"),
            std::string::npos);
  EXPECT_NE(with("needs: \"shards-nl\"", "needs: [report]").find("circle: report, eval"),
            std::string::npos);
  EXPECT_NE(with("text/${lang}.txt", "text/${lang}.text").find("text/nl.text"), std::string::npos);
  EXPECT_NE(with("shards-${lang}", "shards").find("made twice"), std::string::npos);
  EXPECT_NE(with("ranks: 1", "ranks: 0").find("ranks must be at least 1"), std::string::npos);
  EXPECT_NE(with("threads: 1", "thread: 1").find("did you mean 'threads'"), std::string::npos);
  EXPECT_NE(with("command: report", "ranks: 2\n    command: report").find("works on 1 rank"),
            std::string::npos);
}

std::size_t num_stages(const std::string& name, std::vector<std::string> overrides) {
  const auto path = testing::source_dir() / "configs/experiments" / (name + ".yaml");
  return load_experiment(path, overrides, "no-such-run").stages.size();
}

TEST(RunStages, TwoDoNotRunIntoOneDirectory) {
  const testing::TemporaryDirectory dir;
  Experiment experiment;
  experiment.out = dir.path() / "out";
  EXPECT_EQ(run_stages(experiment), 0);
  FileLock lock;
  EXPECT_TRUE(lock.take(experiment.out / ".run.lock", "it is being run", "wait"));
  EXPECT_ERROR(run_stages(experiment), kInvalidArgument, "out' is being run by another process",
               std::to_string(getpid()));
  lock.release();
  EXPECT_EQ(run_stages(experiment), 0);
}

TEST(ShippedExperiments, ArtificialLoads) { EXPECT_EQ(num_stages("artificial", {}), 43U); }

TEST(ShippedExperiments, QuickstartLoads) {
  const TemporaryDirectory dir;
  for (const char* language : {"en", "de", "sv"}) {
    write_text(dir.path() / language / "train.jsonl", "");
    write_text(dir.path() / language / "held_out.jsonl", "");
  }
  EXPECT_EQ(num_stages("quickstart", {"vars.text=" + dir.path().string()}), 42U);
}

TEST(ShippedExperiments, SmallRealLoads) {
  GM_REQUIRE_SHARED_DATA(data);
  EXPECT_EQ(num_stages("small-real", {"vars.data_root=" + data.string()}), 33U);
}

}  // namespace
}  // namespace growmerge::launch
