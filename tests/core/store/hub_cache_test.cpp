#include "core/store/hub_cache.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "core/base/error.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

/// As huggingface_hub lays a model out: files are links into blobs/.
fs::path add_snapshot(const fs::path& folder, const std::string& commit) {
  write_text(folder / "blobs" / "0123", "{}");
  const fs::path snapshot = folder / "snapshots" / commit;
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/0123", snapshot / "config.json");
  return snapshot;
}

TEST(HubCache, NamesAndCacheFoldersLeadToTheSnapshot) {
  const TemporaryDirectory dir;
  const fs::path folder = dir.path() / "models--meta-llama--Llama-3.2-1B";
  const std::string first = add_snapshot(folder, "aaa1").string();
  EXPECT_EQ(resolve_hub_path("meta-llama/Llama-3.2-1B", dir.path()), first) << "the only one";
  const std::string second = add_snapshot(folder, "bbb2").string();
  EXPECT_ERROR(resolve_hub_path("meta-llama/Llama-3.2-1B", dir.path()), kNotFound, "'main'",
               "aaa1, bbb2", "hf download meta-llama/Llama-3.2-1B");
  write_text(folder / "refs" / "main", "bbb2\n");
  write_text(folder / "refs" / "v1", "aaa1");
  EXPECT_EQ(resolve_hub_path("meta-llama/Llama-3.2-1B", dir.path()), second);
  EXPECT_EQ(resolve_hub_path("meta-llama/Llama-3.2-1B@v1", dir.path()), first);
  EXPECT_EQ(resolve_hub_path("meta-llama/Llama-3.2-1B@bbb2", dir.path()), second);
  EXPECT_EQ(resolve_hub_path(folder.string(), {}), second);
  EXPECT_EQ(resolve_hub_path(folder.string() + "/", {}), second + "");
  EXPECT_TRUE(fs::exists(fs::path(second) / "config.json"));
  EXPECT_ERROR(resolve_hub_path("meta-llama/Llama-3.2-1B@v9", dir.path()), kNotFound, "'v9'",
               "hf download meta-llama/Llama-3.2-1B --revision v9");
}

TEST(HubCache, AnUnfinishedDownloadIsSaid) {
  const TemporaryDirectory dir;
  write_text(dir.path() / "models--a--b" / "refs" / "main", "ccc3");
  EXPECT_ERROR(resolve_hub_path("a/b", dir.path()), kNotFound, "there are: none",
               "hf download a/b");
}

TEST(HubCache, WhatIsNoNameStaysAsItIs) {
  const TemporaryDirectory dir;
  for (const std::string path : {"org/name", "a", "a/b/c", "/a/b", "./a", "../a/b", "a b/c", ""}) {
    EXPECT_EQ(resolve_hub_path(path, dir.path()), path);
    EXPECT_EQ(resolve_hub_path(path, {}), path);
  }
  // A path that is there wins over a name.
  add_snapshot(dir.path() / "models--here--model", "aaa1");
  const fs::path before = fs::current_path();
  fs::create_directories(dir.path() / "here" / "model");
  fs::current_path(dir.path());
  EXPECT_EQ(resolve_hub_path("here/model", dir.path()), "here/model");
  EXPECT_NE(missing_model_advice("here/model@main").find("no revisions: leave '@main' away"),
            std::string::npos);
  fs::current_path(before);
}

TEST(HubCache, MissingModelsComeWithTheCommandThatDownloadsThem) {
  const std::string advice = missing_model_advice("meta-llama/Llama-3.2-1B");
  EXPECT_NE(advice.find("not downloaded"), std::string::npos);
  EXPECT_NE(advice.find("`hf download meta-llama/Llama-3.2-1B`"), std::string::npos);
  EXPECT_EQ(missing_model_advice("/data/m"), "");
  EXPECT_EQ(missing_model_advice("a/b/c"), "");
}

TEST(HubCache, ASnapshotIsCalledByItsModel) {
  EXPECT_EQ(model_dir_name("runs/base/"), "base");
  EXPECT_EQ(model_dir_name("/c/models--org--my--name/snapshots/abc"), "my--name");
  EXPECT_EQ(model_dir_name("/c/models--gpt2/snapshots/abc"), "gpt2");
  EXPECT_EQ(model_dir_name("/c/models--org--name/snapshots/abc/"), "name");
}

}  // namespace
}  // namespace growmerge
