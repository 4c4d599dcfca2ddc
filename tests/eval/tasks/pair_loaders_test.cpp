#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "core/base/error.h"
#include "eval/tasks/blimp.h"
#include "eval/tasks/multiblimp.h"
#include "eval/tasks/pairs.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::eval {
namespace {

std::filesystem::path write(const testing::TemporaryDirectory& dir, const std::string& name,
                            const std::string& text) {
  const std::filesystem::path path = dir.path() / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
  return path;
}

TEST(Blimp, RealFilesHave67ParadigmsOf1000AndSevenIdenticalPairs) {
  GM_REQUIRE_SHARED_DATA(data);
  const Task task = load_blimp(data / "blimp", std::nullopt);
  EXPECT_EQ(task.items.size(), 67000U);
  EXPECT_EQ(task.num_paradigms(), 67);
  EXPECT_EQ(task.num_identical, 7);
  EXPECT_TRUE(task.macro);
  std::map<std::string, std::set<std::string>> paradigms_of;
  for (const Item& item : task.items) {
    paradigms_of[item.phenomenon].insert(item.paradigm);
  }
  EXPECT_EQ(paradigms_of.size(), 12U);  // 13 raw terms; s-selection belongs to argument structure
  EXPECT_EQ(paradigms_of["argument_structure"].size(), 9U);
  EXPECT_EQ(paradigms_of["island_effects"].size(), 8U);
  EXPECT_EQ(paradigms_of["subject_verb_agreement"].size(), 6U);
  EXPECT_EQ(task.items[0].id, "adjunct_island/0");
  EXPECT_EQ(task.items[0].choices[0], "Who should Derek hug after shocking Richard?");
}

TEST(Blimp, LimitTakesTheFirstItemsOfEachParadigm) {
  GM_REQUIRE_SHARED_DATA(data);
  const Task task = load_blimp(data / "blimp" / "data", 3);
  EXPECT_EQ(task.items.size(), 67U * 3);
  EXPECT_EQ(task.available.size(), 67U);
  EXPECT_EQ(task.available.at("adjunct_island"), 1000);
  EXPECT_EQ(task.items[5].id, "anaphor_gender_agreement/2");
}

TEST(Blimp, ErrorsNameFileAndLine) {
  const testing::TemporaryDirectory dir;
  const std::string good =
      R"({"sentence_good":"a","sentence_bad":"b","UID":"x","linguistics_term":"t","pairID":"0"})";
  write(dir, "x.jsonl", good + "\n" + good + "\n");
  EXPECT_NE(testing::error_of([&] {
              return load_blimp(dir.path(), std::nullopt);
            }).find("x.jsonl:2: the id 'x/0' is there already"),
            std::string::npos);
  write(dir, "x.jsonl", good + "\n{\"sentence_good\": \n");
  EXPECT_NE(testing::error_of([&] {
              return load_blimp(dir.path(), std::nullopt);
            }).find("x.jsonl:2: not a JSON object"),
            std::string::npos);
  write(dir, "x.jsonl", "\n{\"sentence_good\": \"a\", \"UID\": \"x\"}\n");
  EXPECT_NE(testing::error_of([&] {
              return load_blimp(dir.path(), std::nullopt);
            }).find("x.jsonl:2: no field 'sentence_bad' (there are: UID, sentence_good)"),
            std::string::npos);
  std::filesystem::rename(dir.path() / "x.jsonl", dir.path() / "y.jsonl");
  write(dir, "y.jsonl", good);
  EXPECT_NE(testing::error_of([&] {
              return load_blimp(dir.path(), std::nullopt);
            }).find("y.jsonl:1: UID is 'x', expected the file's name 'y'"),
            std::string::npos);
}

TEST(MultiBlimp, RealFilesHaveTheirPublishedCounts) {
  GM_REQUIRE_SHARED_DATA(data);
  std::map<std::string, std::map<std::string, int>> counts;
  std::map<std::string, std::set<std::string>> clusters;
  for (const std::string language : {"eng", "nld"}) {
    for (const Item& item : load_multiblimp(data / "multiblimp" / language, {}).items) {
      ++counts[language][item.phenomenon];
      clusters[language].insert(item.cluster);
      EXPECT_EQ(item.id.substr(0, 4), language + "/");
    }
  }
  EXPECT_EQ(counts["eng"], (std::map<std::string, int>{{"SV-P", 453}, {"SV-#", 317}}));
  EXPECT_EQ(counts["nld"], (std::map<std::string, int>{{"SV-P", 1531}, {"SV-#", 800}}));
  EXPECT_EQ(clusters["eng"].size(), 214U);  // distinct verb forms
}

TEST(MultiBlimp, QuotedFieldsMayHoldTabsQuotesAndNewlines) {
  const testing::TemporaryDirectory dir;
  const auto path = write(dir, "data.tsv",
                          "sen\twrong_sen\tphenomenon\tlang\thead\n"
                          "\"He said \"\"no\"\".\"\tHe \"say\" no.\tSV-P\tx\tsaid\n"
                          "\"a\tb\nc\"\td\tSV-#\tx\tis\n");
  const Task task = load_multiblimp(path, 2);
  ASSERT_EQ(task.items.size(), 2U);
  EXPECT_EQ(task.items[0].choices[0], "He said \"no\".");
  EXPECT_EQ(task.items[0].choices[1], "He \"say\" no.");
  EXPECT_EQ(task.items[1].choices[0], "a\tb\nc");
  EXPECT_EQ(load_multiblimp(path, 1).items.size(), 1U);
  EXPECT_EQ(load_multiblimp(path, 1).available.at(""), 2);
  std::ofstream(path, std::ios::app) << "only\ttwo\n";
  EXPECT_NE(testing::error_of([&] {
              return load_multiblimp(path, std::nullopt);
            }).find("data.tsv:5: 2 fields, expected 5"),
            std::string::npos);
}

TEST(MultiBlimp, AFolderOfLanguagesIsTheMeanOverThem) {
  const testing::TemporaryDirectory dir;
  const std::string head = "sen\twrong_sen\tphenomenon\tlang\thead\n";
  write(dir, "nld/data.tsv", head + "a\tb\tSV-P\tnld\tx\nc\td\tSV-#\tnld\tx\ne\tf\tSV-#\tnld\ty\n");
  write(dir, "eng.tsv", head + "g\th\tSV-P\teng\tx\n");
  const Task task = load_multiblimp(dir.path(), 2);
  ASSERT_EQ(task.items.size(), 3U);
  EXPECT_TRUE(task.macro);
  EXPECT_EQ(task.num_paradigms(), 2);
  EXPECT_EQ(task.items[0].id, "eng/0");
  EXPECT_EQ(task.items[0].paradigm, "eng");
  EXPECT_EQ(task.items[2].id, "nld/1");
  EXPECT_EQ(task.available.at("nld"), 3);
  const Task alone = load_multiblimp(dir.path() / "nld", {});
  EXPECT_FALSE(alone.macro);
  EXPECT_EQ(alone.items[0].paradigm, "");
  EXPECT_EQ(alone.items[0].id, "nld/0");
  std::filesystem::remove_all(dir.path() / "nld");
  std::filesystem::remove(dir.path() / "eng.tsv");
  EXPECT_ERROR(load_multiblimp(dir.path(), {}), kNotFound, "no .tsv file of a language");
}

TEST(Pairs, FieldsThatAreNotUtf8AreRefusedWithTheirLine) {
  const testing::TemporaryDirectory dir;
  // Latin-1 in a column that is no sentence: encoding would not notice, writing results would.
  const auto path = write(dir, "data.tsv",
                          "sen\twrong_sen\tphenomenon\tlang\thead\n"
                          "a\tb\tSV-P\tx\tsaid\nc\td\tSV-P\tx\tcaf\xE9\n");
  EXPECT_ERROR(load_multiblimp(path, std::nullopt), kCorrupt, "data.tsv:3: column 'head'",
               "not UTF-8");
}

TEST(Pairs, AnyColumnsOfJsonlAndTsv) {
  const testing::TemporaryDirectory dir;
  const auto jsonl = write(dir, "a.jsonl",
                           "{\"ok\":\"x y\",\"ko\":\"x z\",\"n\":7,\"type\":\"T\"}\n"
                           "{\"ok\":\"same\",\"ko\":\"same\",\"n\":8,\"type\":\"U\"}\n");
  const auto tsv = write(dir, "b.tsv", "n\tok\tko\ttype\n7\tp\tq\tT\n");
  const PairColumns columns{
      .good = "ok", .bad = "ko", .id = "n", .phenomenon = "type", .cluster = ""};
  const Task task = load_pairs({jsonl, tsv}, columns, std::nullopt);
  ASSERT_EQ(task.items.size(), 3U);
  EXPECT_EQ(task.items[0].id, "a/7");
  EXPECT_EQ(task.items[2].id, "b/7");
  EXPECT_EQ(task.items[2].phenomenon, "T");
  EXPECT_EQ(task.items[0].cluster, "x y");
  EXPECT_EQ(task.num_identical, 1);
  EXPECT_NE(testing::error_of([&] {
              return load_pairs({tsv}, PairColumns{}, std::nullopt);
            }).find("b.tsv:1: no column 'sentence_good' (there are: n, ok, ko, type)"),
            std::string::npos);
  const auto empty = write(dir, "c.jsonl", "{\"ok\":\"\",\"ko\":\"b\"}\n");
  EXPECT_NE(testing::error_of([&] {
              return load_pairs(
                  {empty},
                  PairColumns{.good = "ok", .bad = "ko", .id = "", .phenomenon = "", .cluster = ""},
                  {});
            }).find("c.jsonl:1: column 'ok' is empty"),
            std::string::npos);
}

TEST(Pairs, RealFilesLoadWithTheirDefaultColumns) {
  GM_REQUIRE_SHARED_DATA(data);
  EXPECT_EQ(load_pairs({data / "eval/is_ud_agreement/pairs.jsonl"}, {}, {}).items.size(), 833U);
  EXPECT_EQ(load_pairs({data / "eval/fa_ud_agreement/pairs.jsonl"}, {}, {}).items.size(), 796U);
  EXPECT_EQ(load_pairs({data / "eval/fo_ud_agreement/pairs.jsonl"}, {}, {}).items.size(), 34U);
  EXPECT_EQ(load_pairs({data / "eval/sv_dalaj_ged/test.jsonl"}, {}, {}).items.size(), 1600U);
}

}  // namespace
}  // namespace growmerge::eval
