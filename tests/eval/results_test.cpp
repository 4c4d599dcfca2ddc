#include "eval/results.h"
#include "core/base/files.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/random.h"
#include "eval/choice_scorer.h"
#include "eval/compare.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::eval {
namespace {

TaskItems pair_items(const std::string& name, bool macro, std::uint64_t seed, double shift) {
  const Philox random(seed, stream_id("test/results"));
  TaskItems items;
  items.header.name = name;
  items.header.kind = macro ? "blimp" : "pairs";
  items.header.macro = macro;
  items.header.data_hash = "0123";
  items.header.bootstrap.resamples = 400;
  for (int i = 0; i < 120; ++i) {
    ItemRecord item;
    item.id = std::to_string(i);
    item.paradigm = macro ? "p" + std::to_string(i % 6) : "";
    item.phenomenon = i % 3 == 0 ? "A" : "B";
    item.cluster = std::to_string(i / 2);
    const auto at = static_cast<std::uint64_t>(4 * i);
    item.log_prob = {-20.0 + random.normal(at) + shift, -20.0 + random.normal(at + 1)};
    item.tokens = {10 + i % 3, 11};
    item.characters = {30, 30 + i % 2};
    item.bytes = {31, 33};
    item.gold = 0;
    decide(item, items.header.rules);
    items.records.push_back(item);
  }
  return items;
}

TaskItems text_items(const std::string& name, std::uint64_t seed, double scale) {
  const Philox random(seed, stream_id("test/texts"));
  TaskItems items;
  items.header.name = name;
  items.header.kind = "bpb";
  items.header.rules.prefix = "auto";
  items.header.context = 512;
  items.header.data_hash = "4567";
  items.header.bootstrap.resamples = 400;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const auto bytes = static_cast<std::int64_t>(100 + random.below(3 * i, 900));
    items.records.push_back(
        {.id = std::to_string(i),
         .log_prob = {-scale * static_cast<double>(bytes) * (1.0 + 0.1 * random.normal(3 * i + 1))},
         .tokens = {bytes / 3},
         .characters = {bytes - 5},
         .bytes = {bytes},
         .words = bytes / 6,
         .windows = 1});
  }
  return items;
}

TEST(Items, RoundTripKeepsEveryBit) {
  const testing::TemporaryDirectory dir;
  const TaskItems pairs = pair_items("toy", true, 1, 0.3);
  const TaskItems texts = text_items("text", 1, 1.5);
  write_items(dir.path() / "p.jsonl", pairs);
  write_items(dir.path() / "t.jsonl", texts);
  EXPECT_TRUE(read_items(dir.path() / "p.jsonl").records == pairs.records);
  EXPECT_TRUE(read_items(dir.path() / "t.jsonl").records == texts.records);
  EXPECT_EQ(read_items(dir.path() / "t.jsonl").header.context, 512);
  EXPECT_EQ(read_items(dir.path() / "p.jsonl").header.rules.tie, "wrong");
}

TEST(Items, ErrorsNameFileAndLine) {
  const testing::TemporaryDirectory dir;
  const auto path = dir.path() / "p.jsonl";
  write_items(path, pair_items("toy", false, 1, 0.0));
  const std::string text = read_file(path);
  std::ofstream(path) << text.substr(0, text.size() / 2);
  EXPECT_NE(testing::error_of([&] { return read_items(path); }).find("p.jsonl:"),
            std::string::npos);
  std::ofstream(path) << text.substr(text.find('\n') + 1);
  EXPECT_NE(testing::error_of([&] { return read_items(path); }).find("p.jsonl:1: the first line"),
            std::string::npos);
  std::string other = text;
  other.replace(other.find("\"format_version\":2"), 18, "\"format_version\":9");
  std::ofstream(path) << other;
  EXPECT_NE(testing::error_of([&] { return read_items(path); }).find("format version 9"),
            std::string::npos);
}

TEST(Summary, FlatFiguresByHand) {
  const TaskItems items = pair_items("toy", false, 2, 0.5);
  const TaskSummary summary = summarise(items);
  double correct = 0.0;
  double token_correct = 0.0;
  double margin = 0.0;
  for (const ItemRecord& item : items.records) {
    correct += item.log_prob[0] > item.log_prob[1] ? 1 : 0;
    token_correct += item.log_prob[0] / static_cast<double>(item.tokens[0]) >
                             item.log_prob[1] / static_cast<double>(item.tokens[1])
                         ? 1
                         : 0;
    margin += item.log_prob[0] - item.log_prob[1];
  }
  const double p = correct / 120;
  EXPECT_NEAR(summary.metric("acc"), p, 1e-15);
  EXPECT_NEAR(summary.metric("acc_stderr"), std::sqrt(p * (1 - p) / 119), 1e-12);
  EXPECT_NEAR(summary.metric("acc_token"), token_correct / 120, 1e-15);
  EXPECT_NEAR(summary.metric("margin"), margin / 120, 1e-12);
  EXPECT_LT(summary.metric("acc_ci_low"), p);
  ASSERT_EQ(summary.phenomena.size(), 2U);
  EXPECT_EQ(summary.phenomena[0].num_items, 40);
  EXPECT_NE(testing::error_of([&] { return summary.metric("bits"); }).find("no metric 'bits'"),
            std::string::npos);
}

TEST(Summary, BlimpIsTheMeanOverParadigms) {
  TaskItems items = pair_items("blimp", true, 3, 0.5);
  items.records.resize(117);  // unequal paradigms
  const TaskSummary summary = summarise(items);
  ASSERT_EQ(summary.paradigms.size(), 6U);
  EXPECT_EQ(summary.paradigms[0].name, "blimp_p0");
  double sum = 0.0;
  for (const TaskSummary& paradigm : summary.paradigms) {
    sum += paradigm.metric("acc");
  }
  EXPECT_NEAR(summary.metric("acc"), sum / 6, 1e-15);
  EXPECT_GT(summary.metric("acc_clustered_stderr"), 0.0);
}

TEST(Summary, TextsArePooled) {
  const TaskItems items = text_items("text", 4, 1.5);
  const TaskSummary summary = summarise(items);
  double nll = 0.0;
  double bytes = 0.0;
  for (const ItemRecord& item : items.records) {
    nll += item.nll();
    bytes += static_cast<double>(item.bytes[0]);
  }
  EXPECT_NEAR(summary.metric("bits_per_byte"), nll / bytes / std::log(2.0), 1e-12);
  EXPECT_NEAR(std::log2(summary.metric("byte_perplexity")), summary.metric("bits_per_byte"), 1e-12);
  EXPECT_LT(summary.metric("bits_per_byte_ci_low"), summary.metric("bits_per_byte"));
  EXPECT_GT(summary.metric("bits_per_byte_ci_high"), summary.metric("bits_per_byte"));
}

Results write_all(const std::filesystem::path& dir, const std::string& model, double shift) {
  Results results;
  results.model = {model, "models/" + model, "id-" + model, "float32", "tok"};
  results.batch_tokens = 4096;
  std::filesystem::create_directories(dir / "items");
  for (const TaskItems& items :
       {pair_items("blimp", true, 5, shift), pair_items("toy", false, 6, shift),
        text_items("text", 7, 1.5 - 0.1 * shift)}) {
    write_items(items_path(dir, items.header.name), items);
    results.headers.push_back(items.header);
    results.tasks.push_back(summarise(items));
  }
  write_results(dir, results);
  return results;
}

TEST(ResultsFile, HasTheHarnessLayoutAndIsRecomputedFromTheItemsAlone) {
  const testing::TemporaryDirectory dir;
  const Results written = write_all(dir.path(), "a", 0.4);
  const auto json = nlohmann::json::parse(read_file(dir.path() / "results.json"));
  EXPECT_EQ(json["results"]["blimp"]["acc,none"], written.tasks[0].metric("acc"));
  EXPECT_TRUE(json["results"]["blimp_p3"].contains("acc_stderr,none"));
  EXPECT_EQ(json["group_subtasks"]["blimp"].size(), 6U);
  EXPECT_EQ(json["results"]["text"]["bits_per_byte,none"],
            written.tasks[2].metric("bits_per_byte"));
  EXPECT_EQ(json["n-samples"]["toy"]["effective"], 120);
  EXPECT_EQ(json["configs"]["toy"]["tie"], "wrong");

  const Results read = read_results(dir.path());
  EXPECT_EQ(results_json(read), results_json(written));
  EXPECT_EQ(read.find("toy")->metric("acc"), written.tasks[1].metric("acc"));
  EXPECT_EQ(read.find("nothing"), nullptr);

  // A figure that one of the two programs does not know is no fault, nor is one of rounding.
  auto other = nlohmann::ordered_json::parse(read_file(dir.path() / "results.json"));
  other["results"]["toy"].erase("acc_bytes,none");
  other["results"]["toy"]["new_figure,none"] = 1.0;
  other["results"]["toy"]["margin,none"] = written.tasks[1].metric("margin") * (1.0 + 1e-12);
  std::ofstream(dir.path() / "results.json") << other.dump(2);
  EXPECT_EQ(results_json(read_results(dir.path())), results_json(written));

  other["config"]["model_args"] = "x";
  std::ofstream(dir.path() / "results.json") << other.dump(2);
  EXPECT_ERROR(read_results(dir.path()), kCorrupt, "model_args is 'x'");
  other["config"]["model_args"] = "pretrained=" + written.model.path;
  std::ofstream(dir.path() / "results.json") << other.dump(2);

  // A figure that its items do not give is refused.
  std::string text = read_file(dir.path() / "items" / "toy.jsonl");
  const auto at = text.find("\"correct\":true");
  text.replace(at, 14, "\"correct\":false");
  std::ofstream(dir.path() / "items" / "toy.jsonl") << text;
  EXPECT_NE(
      testing::error_of([&] { return read_results(dir.path()); }).find("the figures of 'toy'"),
      std::string::npos);
}

TEST(Compare, EqualModelsAreNotSeparableAndShiftedOnesAre) {
  const testing::TemporaryDirectory dir;
  (void)write_all(dir.path() / "a", "a", 0.0);
  (void)write_all(dir.path() / "b", "b", 1.5);
  const BootstrapOptions options{.resamples = 1000, .seed = 3};
  const ComparisonTable same = compare_results(dir.path() / "a", dir.path() / "a", options);
  ASSERT_EQ(same.rows.size(), 7U);  // two tasks of pairs with two phenomena each, one of texts
  for (const Comparison& row : same.rows) {
    EXPECT_EQ(row.difference, 0.0);
    EXPECT_EQ(row.verdict(), "not separable");
    EXPECT_EQ(row.equivalence_margin, 0.0);
    EXPECT_EQ(row.lost + row.gained, 0);
  }
  const ComparisonTable table = compare_results(dir.path() / "a", dir.path() / "b", options);
  EXPECT_EQ(table.model_b, "b");
  for (const Comparison& row : table.rows) {
    EXPECT_EQ(row.verdict(), "b better") << row.task << " " << row.part;
    EXPECT_TRUE(row.interval.contains(row.difference));
    if (row.metric == "acc") {
      EXPECT_EQ(row.retained + row.lost + row.gained + row.neither, row.num_items);
      EXPECT_LT(row.mcnemar.mid_p, 0.01);
      EXPECT_GT(row.margin_difference, 1.0);
    }
  }
  const Comparison& toy = table.rows[3];
  EXPECT_EQ(toy.task, "toy");
  EXPECT_NEAR(toy.difference, static_cast<double>(toy.gained - toy.lost) / 120.0, 1e-12);
  const ComparisonTable back = compare_results(dir.path() / "b", dir.path() / "a", options);
  EXPECT_EQ(back.rows[0].verdict(), "a better");
  EXPECT_EQ(back.rows[0].difference, -table.rows[0].difference);
  const auto json = nlohmann::json::parse(comparison_json(table));
  EXPECT_EQ(json["rows"][0]["verdict"], "b better");
}

TEST(Compare, PairedIntervalsAreNarrowerThanTheSpreadOfDocuments) {
  // b is a shifted by 1 % in every document: the difference is certain though documents differ.
  const TaskItems a = text_items("text", 8, 1.5);
  TaskItems b = a;
  for (ItemRecord& item : b.records) {
    item.log_prob[0] *= 0.99;
  }
  const auto rows = compare_items(a, b, {.resamples = 1000, .seed = 1});
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].verdict(), "b better");
  EXPECT_LT(rows[0].interval.high - rows[0].interval.low,
            0.1 * (summarise(a).metric("bits_per_byte_ci_high") -
                   summarise(a).metric("bits_per_byte_ci_low")));
}

TEST(Compare, AFewDocumentsSeparateNothing) {
  TaskItems a = text_items("text", 8, 1.5);
  a.records.resize(3);
  TaskItems b = a;
  for (ItemRecord& item : b.records) {
    item.log_prob[0] *= 0.5;
  }
  const auto rows = compare_items(a, b, {.resamples = 1000, .seed = 1});
  EXPECT_FALSE(rows[0].separable) << "three documents say nothing of a fourth";
  EXPECT_EQ(rows[0].verdict(), "not separable (n = 3)");
}

TEST(Compare, OneDocumentHasNoInterval) {
  TaskItems a = text_items("text", 8, 1.5);
  a.records.resize(1);
  TaskItems b = a;
  b.records[0].log_prob[0] *= 0.5;
  const ComparisonTable table{"a", "b", compare_items(a, b, {.resamples = 100, .seed = 1}), {}};
  const auto row = nlohmann::json::parse(comparison_json(table))["rows"][0];
  EXPECT_TRUE(row["interval"].is_null());
  EXPECT_TRUE(row["equivalence_margin"].is_null());
  EXPECT_EQ(row["units"], 1);
  EXPECT_EQ(row["verdict"], "not separable (n = 1)");
}

TEST(Compare, MarginsOfUnequalParadigmsAverageAsTheirIntervalDoes) {
  TaskItems a = pair_items("blimp", true, 5, 0.0);
  for (std::size_t i = 0; i < a.records.size(); ++i) {
    a.records[i].paradigm = i < 100 ? "long" : "short";
  }
  TaskItems b = a;
  for (ItemRecord& item : b.records) {
    item.log_prob[0] += item.paradigm == "long" ? 1.0 : 3.0;
  }
  const auto rows = compare_items(a, b, {.resamples = 400, .seed = 1});
  EXPECT_NEAR(rows[0].margin_difference, 2.0, 1e-9);  // over items it would be 4 / 3
}

TEST(Compare, DifferentItemsOrRulesAreRefused) {
  const TaskItems a = pair_items("toy", false, 1, 0.0);
  TaskItems b = a;
  b.header.rules.tie = "right";
  EXPECT_NE(testing::error_of([&] {
              return compare_items(a, b, {});
            }).find("comparing task 'toy': tie is 'wrong' in one and 'right' in the other"),
            std::string::npos);
  b = a;
  b.header.dtype = "bfloat16";
  EXPECT_EQ(compare_items(a, b, {}).size(), 3U) << "an older file names no dtype";
  TaskItems named = a;
  named.header.dtype = "float32";
  EXPECT_ERROR(compare_items(named, b, {}), kMismatch, "dtype is 'float32' in one and 'bfloat16'");
  b = a;
  b.header.data_hash = "other";
  EXPECT_NE(
      testing::error_of([&] { return compare_items(a, b, {}); }).find("the hash of the items"),
      std::string::npos);
}

}  // namespace
}  // namespace growmerge::eval
