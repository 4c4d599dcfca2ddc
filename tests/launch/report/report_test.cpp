// A report over results with known figures.
#include "launch/report/report.h"
#include "core/store/stage_output.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/base/error.h"
#include "core/store/manifest.h"
#include "eval/items.h"
#include "launch/report/svg.h"
#include "launch/report/table.h"
#include "tests/launch/run_binary.h"
#include "tests/support/paths.h"

namespace growmerge::launch {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;
using testing::write_text;

/// Results of a model whose document i costs `bits_per_byte` + 0.1 * (i % 3) bits a byte, and whose
/// first `right` of 40 pairs are right.
void write_model(const fs::path& dir, const std::string& name, double bits_per_byte, int right) {
  eval::TaskItems texts;
  texts.header.name = "bpb_nl";
  texts.header.kind = "bpb";
  texts.header.language = "nl";
  texts.header.rules.prefix = "bos";
  texts.header.data_hash = "t";
  for (int i = 0; i < 30; ++i) {
    const double bits = bits_per_byte + 0.1 * (i % 3);
    texts.records.push_back({.id = "d" + std::to_string(i),
                             .log_prob = {-bits * 100 * std::log(2.0)},
                             .tokens = {40},
                             .characters = {100},
                             .bytes = {100},
                             .words = 20,
                             .windows = 1});
  }
  eval::TaskItems pairs;
  pairs.header.name = "pairs_en";
  pairs.header.kind = "pairs";
  pairs.header.language = "en";
  pairs.header.data_hash = "p";
  for (int i = 0; i < 40; ++i) {
    eval::ItemRecord item;
    item.id = "p" + std::to_string(i);
    item.cluster = item.id;
    item.log_prob = {i < right ? -1.0 : -3.0, -2.0};
    item.tokens = {5, 5};
    item.characters = {20, 20};
    item.bytes = {20, 20};
    item.gold = 0;
    item.correct = i < right;
    pairs.records.push_back(item);
  }
  const fs::path out = dir / name;
  fs::create_directories(out / "items");
  eval::Results results;
  results.model = {.name = name,
                   .path = (dir / "models" / name).string(),
                   .identity = "i",
                   .dtype = "float32",
                   .tokenizer_hash = "h"};
  results.batch_tokens = 64;
  for (const eval::TaskItems* items : {&texts, &pairs}) {
    eval::write_items(eval::items_path(out, items->header.name), *items);
    results.headers.push_back(items->header);
    results.tasks.push_back(eval::summarise(*items));
  }
  eval::write_results(out, results);
}

class ReportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_model(dir_.path(), "base", 3.0, 30);
    write_model(dir_.path(), "adapted", 2.0, 30);
    write_model(dir_.path(), "merged", 2.0, 10);
    config_.results = {(dir_.path() / "base").string(), (dir_.path() / "adapted").string(),
                       (dir_.path() / "merged").string()};
    config_.models["base"].role = "base";
    config_.models["adapted"] = {
        .role = "joint", .language = "nl", .setup = "1x", .baselines = {"base"}, .base = ""};
    config_.models["merged"] = {
        .role = "merge", .language = "", .setup = "1x", .baselines = {"adapted"}, .base = ""};
    config_.bootstrap_resamples = 300;
  }
  TemporaryDirectory dir_;
  ReportConfig config_;
};

TEST(Escape, NothingOfAFileBecomesMarkup) {
  const std::string name = "<img src=x>|[a](b)`*\n\\";
  EXPECT_EQ(html_escape(name), "&lt;img src=x&gt;|[a](b)`*\n\\");
  EXPECT_EQ(markdown_escape(name), "&lt;img src=x&gt;\\|\\[a\\](b)\\`\\* \\\\");
  const std::string table = table_markdown(
      {.title = "<b>", .note = "", .columns = {"model|s", "x"}, .rows = {{"<script>", "1"}}});
  EXPECT_EQ(table, "## &lt;b&gt;\n\n| model\\|s | x |\n|---|---:|\n| &lt;script&gt; | 1 |\n");
}

TEST_F(ReportTest, FiguresAreThoseOfTheItems) {
  const ReportData data = collect_report(config_);
  EXPECT_EQ(data.base, "base");
  EXPECT_NEAR(data.entry("adapted").results.find("bpb_nl")->metric("bits_per_byte"), 2.1, 1e-9);
  const ReportComparison& adapted = data.against_baselines.front();
  EXPECT_EQ(adapted.model, "adapted");
  for (const eval::Comparison& row : adapted.rows) {
    if (row.task == "bpb_nl") {
      EXPECT_NEAR(row.difference, -1.0, 1e-9);
      EXPECT_TRUE(row.separable && row.b_better);
    } else {
      EXPECT_NEAR(row.difference, 0.0, 1e-12);
      EXPECT_FALSE(row.separable);
    }
  }
}

TEST_F(ReportTest, AModelThatIsNotDescribedIsHeldAgainstTheBase) {
  config_.models.clear();
  const ReportData data = collect_report(config_);
  ASSERT_EQ(data.against_baselines.size(), 2U);
  for (const ReportComparison& comparison : data.against_baselines) {
    EXPECT_EQ(comparison.baseline, "base");
    EXPECT_EQ(comparison.rows.size(), 2U) << "every task";
  }
  EXPECT_NE(report_text(data).find("-1.000"), std::string::npos) << report_text(data);
  config_.models["adapted"].role = "adapted";  // described, and compared with nothing
  EXPECT_EQ(collect_report(config_).against_baselines.size(), 1U);
}

TEST_F(ReportTest, TheBaseComesFirstAndOthersAsEvaluated) {
  {
    StageOutput output(dir_.path() / "eval", false);
    Manifest manifest;
    manifest.stage = "eval";
    for (const char* name : {"merged", "adapted", "base"}) {
      write_model(output.dir(), name, 2.0, 30);
      manifest.inputs.push_back({std::string("model ") + name, "", "i"});
    }
    output.finish(manifest);
  }
  config_.results = {(dir_.path() / "eval").string()};
  config_.models.clear();
  const auto order = [this] {
    std::string names;
    for (const ReportEntry& entry : collect_report(config_).entries) {
      names += entry.name + " ";
    }
    return names;
  };
  EXPECT_EQ(order(), "merged adapted base ");
  config_.base = "base";
  EXPECT_EQ(order(), "base merged adapted ");
}

TEST_F(ReportTest, PlotsStandBeforeLongTables) {
  const std::string html = report_html(collect_report(config_));
  EXPECT_LT(html.find("<svg"), html.find("Against baselines"));
  EXPECT_NE(html.find("Against baselines"), std::string::npos);
}

TEST_F(ReportTest, TablesSayBetterWorseAndNotSeparable) {
  const std::string text = report_markdown(collect_report(config_));
  EXPECT_NE(text.find("not separable"), std::string::npos);
  EXPECT_NE(text.find("better"), std::string::npos);
  EXPECT_NE(text.find("worse"), std::string::npos) << "the merged model lost 20 of 40 pairs";
  EXPECT_NE(text.find("Merge against joint"), std::string::npos);
  EXPECT_NE(text.find("-50.0"), std::string::npos) << text;
  EXPECT_NE(text.find("kept or lost"), std::string::npos);
}

TEST_F(ReportTest, ATerminalGetsTheDifferencesThatTheStudyIsAbout) {
  config_.models["adapted"].language = "nl";
  const std::string text = report_text(collect_report(config_));
  EXPECT_NE(text.find("Adapted models in their language"), std::string::npos) << text;
  EXPECT_NE(text.find("-1.000"), std::string::npos) << text;
  EXPECT_EQ(text.find("-50.0"), std::string::npos) << "accuracies of pairs are in report.md";
  config_.models["adapted"].language = "sv";
  EXPECT_EQ(report_text(collect_report(config_)).find("in their language"), std::string::npos);
}

TEST_F(ReportTest, IntervalsAreNamedByTheirConfidence) {
  config_.confidence = 0.9;
  const std::string text = report_markdown(collect_report(config_));
  EXPECT_NE(text.find("| 90 % interval |"), std::string::npos) << text;
  EXPECT_NE(text.find("95 % interval by bootstrap over documents"), std::string::npos)
      << "the scores' own, as evaluated";
}

TEST(FirstBytes, CutsBetweenCharacters) {
  const std::string text = "a\u00e4\u20ac";  // 1, 2 and 3 bytes
  EXPECT_EQ(first_bytes(text, 0), "");
  EXPECT_EQ(first_bytes(text, 1), "a");
  EXPECT_EQ(first_bytes(text, 2), "a");
  EXPECT_EQ(first_bytes(text, 3), "a\u00e4");
  EXPECT_EQ(first_bytes(text, 5), "a\u00e4");
  EXPECT_EQ(first_bytes(text, 6), text);
  EXPECT_EQ(first_bytes(text, 99), text);
}

TEST_F(ReportTest, ThePageStandsAlone) {
  config_.title = "a <b> & c";
  const std::string html = report_html(collect_report(config_));
  EXPECT_NE(html.find("a &lt;b&gt; &amp; c"), std::string::npos);
  EXPECT_NE(html.find("<svg"), std::string::npos);
  for (const char* outside : {"http:", "https:", "src=", "href=", "@import", "url(", "<script"}) {
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
  }
  EXPECT_NE(html.find("prefers-color-scheme:dark"), std::string::npos);
}

TEST_F(ReportTest, ChangedItemsAreRefused) {
  const fs::path items = eval::items_path(dir_.path() / "adapted", "bpb_nl");
  std::string text = testing::read_text(items);
  text.replace(text.find("\"bytes\":[100]"), 13, "\"bytes\":[200]");
  write_text(items, text);
  EXPECT_THROW((void)collect_report(config_), Error);
}

TEST_F(ReportTest, AModelThatWasNotEvaluatedIsNamed) {
  config_.models["adapted"].baselines = {"bsae"};
  try {
    (void)collect_report(config_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("'bsae' was not evaluated"), std::string::npos);
  }
}

TEST(Svg, TicksAreRoundAndInsideTheRange) {
  EXPECT_EQ(axis_ticks(0.0, 10.0, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  const std::vector<double> ticks = axis_ticks(1.03, 1.27, 5);
  EXPECT_GE(ticks.size(), 4u);
  EXPECT_GE(ticks.front(), 1.03);
  EXPECT_LE(ticks.back(), 1.27);
}

TEST(Svg, PointsThatAreNotNumbersAreLeftOut) {
  LinePlot plot;
  plot.series.push_back({.name = "a", .points = {{0, 1}, {1, NAN}, {2, 3}}});
  const std::string svg = line_plot_svg(plot);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(svg.find("<path"), std::string::npos);
  EXPECT_TRUE(line_plot_svg(LinePlot{}).empty());
}

}  // namespace
}  // namespace growmerge::launch
