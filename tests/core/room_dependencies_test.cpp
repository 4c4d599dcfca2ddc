// launch -> {data, distributed, upscaling, merging, eval} -> core, and nothing else; and the floors
// of core: transformer -> ops -> {model, contracts, tokenizer} -> store -> base.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::vector<std::string>>& allowed_rooms() {
  static const std::map<std::string, std::vector<std::string>> rooms = {
      {"core", {"core"}},
      {"data", {"data", "core"}},
      {"distributed", {"distributed", "core"}},
      {"upscaling", {"upscaling", "core"}},
      {"merging", {"merging", "core"}},
      {"eval", {"eval", "core"}},
      {"launch", {"launch", "data", "distributed", "upscaling", "merging", "eval", "core"}}};
  return rooms;
}

/// A floor of core may include its own and those named here.
const std::map<std::string, std::vector<std::string>>& allowed_floors() {
  static const std::map<std::string, std::vector<std::string>> floors = {
      {"base", {}},
      {"store", {"base"}},
      {"model", {"base", "store"}},
      {"contracts", {"base", "store"}},
      {"tokenizer", {"base", "store"}},
      {"ops", {"base", "store", "model", "contracts", "tokenizer"}},
      {"transformer", {"base", "store", "model", "contracts", "tokenizer", "ops"}}};
  return floors;
}

/// The second folder of "core/FLOOR/file"; empty where there is none.
std::string floor_of(const std::string& path) {
  const std::size_t begin = std::string("core/").size();
  const std::size_t end = path.find('/', begin);
  return end == std::string::npos ? "" : path.substr(begin, end - begin);
}

// What stands between the quotes or brackets of an include line; empty for any other line.
std::string included_file(const std::string& line) {
  const std::size_t hash = line.find_first_not_of(" \t");
  if (hash == std::string::npos || line.compare(hash, 8, "#include") != 0) {
    return "";
  }
  const std::size_t open = line.find_first_of("\"<", hash + 8);
  if (open == std::string::npos) {
    return "";
  }
  const std::size_t close = line.find_first_of("\">", open + 1);
  return line.substr(open + 1, close - open - 1);
}

struct Include {
  std::string room;
  fs::path file;  // relative to the repository
  std::string target;
  [[nodiscard]] bool in_header() const {
    const std::string extension = file.extension().string();
    return extension == ".h" || extension == ".cuh";
  }
};

std::vector<Include> all_includes() {
  std::vector<Include> out;
  const fs::path root = testing::source_dir();
  for (const auto& [room, allowed] : allowed_rooms()) {
    for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") {
        continue;
      }
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        if (const std::string target = included_file(line); !target.empty()) {
          out.push_back({room, fs::relative(entry.path(), root), target});
        }
      }
    }
  }
  return out;
}

TEST(RoomDependencies, EveryRoomIncludesOnlyItselfAndWhatStandsBelow) {
  const std::vector<Include> includes = all_includes();
  ASSERT_GT(includes.size(), 300U);  // the sources were found
  for (const Include& include : includes) {
    const std::string target_room = include.target.substr(0, include.target.find('/'));
    if (allowed_rooms().count(target_room) == 0 || target_room == include.target) {
      continue;  // a third party's or the standard library's
    }
    const std::vector<std::string>& allowed = allowed_rooms().at(include.room);
    EXPECT_NE(std::find(allowed.begin(), allowed.end(), target_room), allowed.end())
        << include.file.string() << " includes " << include.target << ": " << include.room
        << " must not know " << target_room;
  }
}

TEST(RoomDependencies, EveryFloorOfCoreIncludesOnlyItselfAndWhatStandsBelow) {
  std::size_t checked = 0;
  for (const Include& include : all_includes()) {
    if (include.room != "core" || !include.target.starts_with("core/")) {
      continue;
    }
    ++checked;
    const std::string file = include.file.generic_string();
    const std::string from = floor_of(file);
    const std::string to = floor_of(include.target);
    ASSERT_EQ(allowed_floors().count(from), 1U)
        << file << " lies on no floor: put it into one, or add the floor here";
    const std::vector<std::string>& allowed = allowed_floors().at(from);
    EXPECT_TRUE(from == to || std::find(allowed.begin(), allowed.end(), to) != allowed.end())
        << file << " includes " << include.target << ": " << from << " must not know " << to;
  }
  ASSERT_GT(checked, 150U);
}

TEST(RoomDependencies, IncludesAreWrittenFromTheRootAndNeverFromTests) {
  for (const Include& include : all_includes()) {
    EXPECT_EQ(include.target.find(".."), std::string::npos)
        << include.file.string() << " includes " << include.target;
    EXPECT_NE(include.target.substr(0, 6), "tests/") << include.file.string();
  }
}

TEST(RoomDependencies, HeadersIncludeNoHeavyUmbrella) {
  const std::vector<std::string> heavy = {
      "torch/torch.h", "torch/types.h", "torch/nn",         "torch/optim",       "torch/script.h",
      "torch/all.h",   "ATen/ATen.h",   "ATen/Functions.h", "nlohmann/json.hpp", "yaml-cpp/",
      "hdf5",          "mpi.h",         "nccl.h",           "spdlog/",           "boost/"};
  for (const Include& include : all_includes()) {
    if (!include.in_header()) {
      continue;
    }
    for (const std::string& prefix : heavy) {
      EXPECT_NE(include.target.compare(0, prefix.size(), prefix), 0)
          << include.file.string() << " includes " << include.target
          << ": headers stay light; move it into the source";
    }
  }
}

TEST(RoomDependencies, OnlyLogSeesSpdlogAndOnlyLaunchReadsTheEnvironment) {
  const fs::path root = testing::source_dir();
  for (const auto& [room, allowed] : allowed_rooms()) {
    if (room == "launch") {
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
      if (entry.path().extension() != ".cpp" && entry.path().extension() != ".h") {
        continue;
      }
      std::ifstream in(entry.path());
      int number = 0;
      for (std::string line; std::getline(in, line);) {
        ++number;
        const std::string code = line.substr(0, line.find("//"));
        EXPECT_EQ(code.find("getenv("), std::string::npos)
            << fs::relative(entry.path(), root).string() << ":" << number;
        if (entry.path().filename() != "log.cpp") {
          EXPECT_EQ(code.find("#include <spdlog/"), std::string::npos)
              << fs::relative(entry.path(), root).string() << ":" << number;
        }
      }
    }
  }
}

}  // namespace
}  // namespace growmerge
