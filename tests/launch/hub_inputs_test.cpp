#include "launch/hub_inputs.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "launch/command.h"
#include "launch/process.h"
#include "launch/stage_identity.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;

class HubInputsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    snapshot_ = dir_.path() / "models--org--name" / "snapshots" / "abc";
    fs::create_directories(snapshot_);
    fs::create_directories(dir_.path() / "models--org--name" / "refs");
    std::ofstream(dir_.path() / "models--org--name" / "refs" / "main") << "abc";
    ::setenv("HF_HUB_CACHE", dir_.path().c_str(), 1);
  }
  void TearDown() override { ::unsetenv("HF_HUB_CACHE"); }

  StagePlan plan(const char* command, const std::string& config) {
    return find_command(command).stage.plan(parse_yaml_text(config, "c.yaml"));
  }

  testing::TemporaryDirectory dir_;
  fs::path snapshot_;
};

TEST_F(HubInputsTest, ModelsOfEveryStageAreFoundByTheirNames) {
  const std::string found = snapshot_.string();
  EXPECT_EQ(plan("upscale", "model: org/name").inputs[0].path, found);
  EXPECT_EQ(plan("generate", "model: org/name@abc\nprompts: [a]").inputs[0].path, found);
  EXPECT_EQ(
      plan("tokenize", "tokenizer: org/name\ninputs: [{path: a.txt, language: en}]").inputs[0].path,
      found);
  const StagePlan eval = plan("eval", "models: [{path: org/name}, {name: other, path: " + found +
                                          "}]\ntasks: [{kind: bpb, path: [a.txt]}]");
  EXPECT_EQ(eval.inputs[0].path, found);
  EXPECT_EQ(eval.inputs[0].role, "model name") << "its directory is called by a commit";
  const StagePlan merge =
      plan("merge", "merge_method: linear\nmodels: [{model: org/name, parameters: {weight: 1}}]");
  EXPECT_EQ(merge.inputs[0].path, found);
  EXPECT_EQ(
      plan("upscale", "model: " + (dir_.path() / "models--org--name").string()).inputs[0].path,
      found);
}

TEST_F(HubInputsTest, WhatIsNotThereIsNamedWithItsPlaceAndTheCommand) {
  const StagePlan upscale = plan("upscale", "model: org/other");
  EXPECT_EQ(upscale.inputs[0].path, "org/other");
  EXPECT_ERROR(planned_manifest(upscale), kNotFound, "input 'model'", "no 'org/other'",
               "not downloaded", "`hf download org/other`");
  const StagePlan merge =
      plan("merge",
           "merge_method: linear\nmodels:\n- {model: org/name, parameters: {weight: 1}}\n"
           "- {model: org/other, parameters: {weight: 1}}");
  EXPECT_ERROR(manifest_to_come(merge), kNotFound, "c.yaml:4", "input 'model 1'",
               "`hf download org/other`");
  // Text and shards have no names on the hub.
  const StagePlan shards =
      plan("stats", "model: org/name\nmixture: {sources: [{path: org/other, weight: 1}]}");
  try {
    (void)planned_manifest(shards);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find("hf download"), std::string::npos) << e.what();
  }
}

TEST(HubCacheDir, IsWhereHuggingFaceHubLooks) {
  const char* names[] = {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};
  std::vector<std::string> before;
  for (const char* name : names) {
    const char* value = std::getenv(name);
    before.emplace_back(value == nullptr ? "" : value);
  }
  ::setenv("HOME", "/home/x", 1);
  ::unsetenv("XDG_CACHE_HOME");
  ::unsetenv("HF_HOME");
  ::unsetenv("HF_HUB_CACHE");
  EXPECT_EQ(hub_cache_dir(), "/home/x/.cache/huggingface/hub");
  ::setenv("XDG_CACHE_HOME", "/c", 1);
  EXPECT_EQ(hub_cache_dir(), "/c/huggingface/hub");
  ::setenv("HF_HOME", "/h", 1);
  EXPECT_EQ(hub_cache_dir(), "/h/hub");
  ::setenv("HF_HUB_CACHE", "/hub", 1);
  EXPECT_EQ(hub_cache_dir(), "/hub");
  for (std::size_t i = 0; i < std::size(names); ++i) {
    if (before[i].empty()) {
      ::unsetenv(names[i]);
    } else {
      ::setenv(names[i], before[i].c_str(), 1);
    }
  }
}

}  // namespace
}  // namespace growmerge::launch
