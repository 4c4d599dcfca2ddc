// Results as format version 1 wrote them (tests/eval/items_v1, of stories260K on made-up text) stay
// readable, to the same figures.
#include "eval/items_v1.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/files.h"
#include "eval/compare.h"
#include "eval/results.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::eval {
namespace {

std::filesystem::path sample() { return testing::source_dir() / "tests/eval/items_v1"; }

TEST(ItemsV1, GiveTheFiguresThatWereStoredWithThem) {
  const Results results = read_results(sample());
  const auto stored = nlohmann::json::parse(read_file(sample() / "results.json"));
  ASSERT_EQ(results.tasks.size(), 3U);
  int compared = 0;
  for (const TaskSummary& task : results.tasks) {
    for (const auto& [name, value] : task.metrics) {
      EXPECT_EQ(stored["results"][task.name][name + ",none"], value) << task.name << " " << name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 12 + 13 + 12);
  // Nothing of what results.json says of the tasks is lost.
  const auto now = nlohmann::json::parse(results_json(results));
  for (const char* part : {"results", "groups", "group_subtasks", "phenomena", "configs",
                           "versions", "n-shot", "n-samples", "higher_is_better"}) {
    EXPECT_EQ(now[part], stored[part]) << part;
  }
}

TEST(ItemsV1, PairsAndTextsBecomeOneRecord) {
  const TaskItems pairs = read_items(items_path(sample(), "blimp"));
  ASSERT_EQ(pairs.records.size(), 10U);
  EXPECT_TRUE(pairs.header.macro);
  EXPECT_EQ(pairs.header.rules.delimiter, " ");
  EXPECT_EQ(pairs.header.setting("preset"), "\"lm-eval\"");
  EXPECT_EQ(pairs.records[3].gold, 0);
  EXPECT_TRUE(pairs.records[3].tie);
  EXPECT_EQ(pairs.records[3].log_prob.size(), 2U);
  const TaskItems texts = read_items(items_path(sample(), "bpb_en"));
  ASSERT_EQ(texts.records.size(), 4U);
  EXPECT_EQ(texts.header.rules.prefix, "auto");
  EXPECT_EQ(texts.header.setting("max_characters"), "100");
  EXPECT_EQ(texts.header.setting("prefix_each_window"), "true");
  EXPECT_FALSE(texts.records[3].gold.has_value());
  EXPECT_TRUE(texts.records[3].windowed);
  EXPECT_GT(texts.records[3].nll(), 0.0);
}

TEST(ItemsV1, WrittenAgainTheyAreTheSameRecordsAndCompareWithTheOldOnes) {
  const testing::TemporaryDirectory dir;
  for (const char* task : {"blimp", "pairs", "bpb_en"}) {
    const TaskItems old = read_items(items_path(sample(), task));
    const auto path = dir.path() / "items.jsonl";
    write_items(path, old);
    EXPECT_NE(read_file(path).find("\"format_version\":2"), std::string::npos);
    const TaskItems now = read_items(path);
    EXPECT_TRUE(now.records == old.records) << task;
    EXPECT_EQ(compare_items(old, now, {.resamples = 100})[0].difference, 0.0);
  }
}

TEST(ItemsV1, ALineOfTheOtherKindIsRefused) {
  const testing::TemporaryDirectory dir;
  const std::string pairs = read_file(items_path(sample(), "pairs"));
  const std::string texts = read_file(items_path(sample(), "bpb_en"));
  const auto path = dir.path() / "mixed.jsonl";
  std::ofstream(path) << pairs << texts.substr(texts.find('\n') + 1);
  EXPECT_ERROR(read_items(path), kCorrupt, "mixed.jsonl:7: kind 'text', expected pair");
}

}  // namespace
}  // namespace growmerge::eval
