#include "eval/tasks/choice.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "eval/choice_scorer.h"
#include "eval/tasks/kind.h"
#include "eval/template.h"
#include "tests/eval/toy_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::eval {
namespace {

using ::growmerge::testing::toy_model;
using ::growmerge::testing::toy_tokenizer;

TEST(Template, FiltersAreThoseOfPython) {
  const std::string text = "  Ünder ÅÄ. ";
  const auto render = [&](const std::string& form) {
    return Template(form).render([&](const std::string&) -> const std::string& { return text; });
  };
  EXPECT_EQ(render("<{{a}}>"), "<  Ünder ÅÄ. >");
  EXPECT_EQ(render("{{a|strip}}|{{b}}"), "Ünder ÅÄ.|  Ünder ÅÄ. ");
  EXPECT_EQ(render("{{a|strip|drop_last}}"), "Ünder ÅÄ");
  EXPECT_EQ(render("{{a|strip|lower_first}}"), "ünder ÅÄ.");
  EXPECT_EQ(render("{{a|strip|capitalize}}"), "Ünder åä.");
  EXPECT_EQ(apply_filter("cause=sest", "cause"), "sest");
  EXPECT_EQ(apply_filter("cause=sest", "effect"), "effect");
  EXPECT_EQ(apply_filter("capitalize", "øL ŽŐƯ ΣΑ ЁЖ"), "Øl žőư σα ёж");
  EXPECT_EQ(apply_filter("capitalize", "ÿÿ ßẞ"), "Ÿÿ ßß");
  EXPECT_EQ(apply_filter("drop_last", ""), "");
  EXPECT_EQ(Template("{{a}} {{b|strip}}").columns(), (std::vector<std::string>{"a", "b"}));
  EXPECT_ERROR(Template("x {{a"), kInvalidArgument, "'x {{a': a {{ has no }}");
  EXPECT_ERROR(Template("{{}}"), kInvalidArgument, "holds no name of a column");
  EXPECT_ERROR(Template("{{a|stripe}}"), kInvalidArgument, "filter 'stripe', expected strip");
}

TEST(Template, WikiHowMarksAreCleaned) {
  EXPECT_EQ(clean_wikihow(" A [title] B [step] C  D "), "A. B C D");
  EXPECT_EQ(clean_wikihow("a [b\nc] [d]e"), "a [b\nc] e") << "a bracket ends in its own line";
  EXPECT_EQ(clean_wikihow("[x][y] z    z"), " z  z") << "stripped before, not behind";
}

class ChoiceTest : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_.path() / name) << text;
    return (dir_.path() / name).string();
  }
  TaskConfig task(const std::string& path) const {
    TaskConfig config;
    config.kind = "choice";
    config.path = {path};
    config.choice.context = "Q: {{q}}";
    config.choice.choices_from = "a";
    config.choice.gold = "{{g}}";
    return config;
  }
  static Task load(const TaskConfig& config) {
    config.validate();
    return task_kind(config.kind).load(config, {});
  }

  testing::TemporaryDirectory dir_;
  const std::string rows_ =
      "{\"q\":\"one\",\"a\":[\"x\",\"y\"],\"g\":0}\n"
      "{\"q\":\"two\",\"a\":[\"u\",\"v\",\"w\"],\"g\":2}\n"
      "{\"q\":\"three\",\"a\":[\"r\",\"s\"],\"g\":\"1\"}\n";
};

TEST_F(ChoiceTest, RowsBecomeItems) {
  const Task loaded = load(task(write("a.jsonl", rows_)));
  ASSERT_EQ(loaded.items.size(), 3U);
  EXPECT_EQ(loaded.items[1].context, "Q: two");
  EXPECT_EQ(loaded.items[1].choices, (std::vector<std::string>{"u", "v", "w"}));
  EXPECT_EQ(loaded.items[1].gold, 2);
  EXPECT_EQ(loaded.items[1].id, "1");
  EXPECT_FALSE(loaded.macro);
}

TEST_F(ChoiceTest, TheFirstRowsAreShownAndNeverTheRowItself) {
  TaskConfig config = task(write("a.jsonl", rows_));
  config.choice.shots = 2;
  const Task own = load(config);
  EXPECT_EQ(own.shots, 2);
  EXPECT_EQ(own.items[0].context, "Q: two w\n\nQ: three s\n\nQ: one");
  EXPECT_EQ(own.items[2].context, "Q: one x\n\nQ: two w\n\nQ: three");
  config.choice.shots_from =
      write("b.tsv",
            "q\ta\tg\nfour\t\"[\"\"k\"\", \"\"l\"\"]\"\t1\nfive\t\"[\"\"m\"\", \"\"n\"\"]\"\t0\n");
  config.choice.shots_delimiter = " / ";
  config.limit = 1;
  const Task other = load(config);
  ASSERT_EQ(other.items.size(), 1U);
  EXPECT_EQ(other.items[0].context, "Q: four l / Q: five m / Q: one");
  EXPECT_EQ(config.inputs().size(), 2U) << "the examples are an input of the stage";
  config.choice.shots = 3;
  EXPECT_ERROR(load(config), kInvalidArgument, "choice.shots is 3, but only 2 other rows");
}

TEST_F(ChoiceTest, RandomExamplesAreAFunctionOfSeedAndItem) {
  std::string rows;
  for (int i = 0; i < 30; ++i) {
    rows += "{\"q\":\"" + std::to_string(i) + "\",\"a\":[\"x\",\"y\"],\"g\":0}\n";
  }
  TaskConfig config = task(write("a.jsonl", rows));
  config.choice.shots = 3;
  config.choice.sampler = "random";
  const Task all = load(config);
  config.limit = 5;
  const Task few = load(config);
  std::set<std::string> fronts;
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(few.items[i].context, all.items[i].context) << "a limit changes no other item";
    fronts.insert(few.items[i].context.substr(0, few.items[i].context.rfind("\n\n")));
    EXPECT_EQ(few.items[i].context.find("Q: " + std::to_string(i) + " x"), std::string::npos);
  }
  EXPECT_EQ(fronts.size(), 5U);
  config.choice.shots_seed = 1;
  EXPECT_NE(load(config).items[0].context, few.items[0].context);
}

TEST_F(ChoiceTest, LayoutsAskAsTheHarnessDoes) {
  TaskConfig config;
  config.kind = "choice";
  config.language = "et";
  config.choice.layout = "xcopa";
  config.path = {write("x.jsonl",
                       "{\"premise\":\"Ta kukkus. \",\"choice1\":\"Õu oli märg.\",\"choice2\":"
                       "\"Ta naeris.\",\"question\":\"cause\",\"label\":0,\"idx\":3}\n")};
  EXPECT_EQ(load(config).items[0].context, "Ta kukkus sest");
  EXPECT_EQ(load(config).items[0].choices[0], "õu oli märg.");
  config.language = "sv";
  EXPECT_ERROR(load(config), kInvalidArgument, "language is 'sv', expected one of en, et",
               "cause=WORD|effect=WORD");
  config.choice.layout = "hellaswag";
  config.path = {write("h.jsonl",
                       "{\"activity_label\":\"Baking\",\"ctx_a\":\"A [title] man\",\"ctx_b\":"
                       "\"he McNods\",\"endings\":[\"so [x] he\",\"b\"],\"label\":\"1\"}\n"
                       "{\"activity_label\":\"B\",\"ctx_a\":\"a\",\"ctx_b\":\"\",\"endings\":"
                       "[\"x\",\"y\"],\"label\":\"0\"}\n")};
  const Task swag = load(config);
  EXPECT_EQ(swag.items[0].context, "Baking: A. man He mcnods");
  EXPECT_EQ(swag.items[0].choices[0], "so he");
  EXPECT_EQ(swag.items[0].gold, 1);
  EXPECT_EQ(swag.items[1].context, "B: a") << "a text may be empty where its column is there";
  config.choice.layout = "belebele";
  const std::string answers =
      "\"mc_answer1\":\"p\",\"mc_answer2\":\"q\",\"mc_answer3\":\"r\","
      "\"mc_answer4\":\"s\"}\n";
  config.path = {write("b.jsonl",
                       "{\"flores_passage\":\"P1\",\"question\":\" why? \",\"correct_answer_num\":"
                       "\"4\"," +
                           answers +
                           "{\"flores_passage\":\"P1\",\"question\":\"who?\","
                           "\"correct_answer_num\":1," +
                           answers)};
  const Task belebele = load(config);
  EXPECT_EQ(belebele.items[0].context, "P: P1\nQ: why?\nA: p\nB: q\nC: r\nD: s\nAnswer:");
  EXPECT_EQ(belebele.items[0].choices[3], "D");
  EXPECT_EQ(belebele.items[0].gold, 3);
  EXPECT_EQ(belebele.items[0].cluster, belebele.items[1].cluster) << "two questions of one passage";
}

TEST_F(ChoiceTest, ErrorsNameRowAndSetting) {
  const auto broken = [&](const std::string& row) { return task(write("a.jsonl", rows_ + row)); };
  EXPECT_ERROR(load(broken("{\"q\":\"x\",\"a\":[\"x\",\"y\"],\"g\":2}\n")), kCorrupt,
               "a.jsonl:4: the right choice is '2', expected 0 to 1");
  EXPECT_ERROR(load(broken("{\"q\":\"x\",\"a\":[\"x\"],\"g\":0}\n")), kCorrupt, "a.jsonl:4",
               "1 choices, expected at least two");
  EXPECT_ERROR(load(broken("{\"q\":\"x\",\"a\":[\"x\",\"\"],\"g\":0}\n")), kCorrupt,
               "a.jsonl:4: a choice is empty");
  EXPECT_ERROR(load(broken("{\"q\":\"x\",\"a\":\"no\",\"g\":0}\n")), kCorrupt,
               "column 'a' is no list of texts");
  EXPECT_ERROR(load(broken("{\"a\":[\"x\",\"y\"],\"g\":0}\n")), kCorrupt,
               "a.jsonl:4: no field 'q'");
  TaskConfig config = task(write("a.jsonl", rows_));
  config.choice.gold = "";
  EXPECT_ERROR(load(config), kInvalidArgument, "choice needs a layout, or context");
  config.choice.layout = "belebela";
  EXPECT_ERROR(load(config), kInvalidArgument, "choice.layout is 'belebela', expected one of");
  config = task("a");
  config.choice.choices = {"{{a}}", "{{b}}"};
  EXPECT_ERROR(load(config), kInvalidArgument, "one of choices and choices_from");
  config = task("a");
  config.lines = true;
  EXPECT_ERROR(load(config), kInvalidArgument, "lines is for bpb");
  config = task("a");
  config.kind = "pairs";
  EXPECT_ERROR(load(config), kInvalidArgument, "choice is for choice");
}

std::vector<ItemRecord> score(const Task& task, const ScoringRules& rules, std::int64_t context) {
  const auto comm = make_single_process_communicator();
  const Tokenizer tokenizer = toy_tokenizer();
  return score_choices(toy_model(1), task, encode_choices(task, rules, tokenizer, *comm), rules,
                       context, {.batch_tokens = 100}, *comm);
}

Task one_item(const std::string& context, const std::vector<std::string>& choices) {
  Task task;
  task.name = "toy";
  task.items = {{.id = "0",
                 .paradigm = "",
                 .phenomenon = "",
                 .cluster = "0",
                 .context = context,
                 .choices = choices,
                 .gold = 1}};
  return task;
}

TEST(ChoiceScorer, ChoicesAreScoredBehindTheirContextAlone) {
  ScoringRules rules;
  rules.delimiter = " ";
  const auto behind = score(one_item("some words", {"ab", "c", "def"}), rules, 64)[0];
  ScoringRules none;
  const auto whole =
      score(one_item("", {"some words ab", "some words", "some words def"}), none, 64)[0];
  EXPECT_EQ(behind.tokens, (std::vector<std::int64_t>{3, 2, 4}));  // a token a byte, and the space
  EXPECT_EQ(behind.context_tokens, 10);
  EXPECT_EQ(behind.characters, (std::vector<std::int64_t>{2, 1, 3}));
  EXPECT_NEAR(behind.log_prob[0], whole.log_prob[0] - whole.log_prob[1], 1e-4);
  EXPECT_NEAR(behind.log_prob[2], whole.log_prob[2] - whole.log_prob[1], 1e-4);
  // White space at the end of the context is scored with the choice.
  const auto moved = score(one_item("some words ", {"ab", "c", "def"}), none, 64)[0];
  EXPECT_EQ(moved.log_prob, behind.log_prob);
}

TEST(ChoiceScorer, ALongContextLosesItsBeginningOrIsRefused) {
  ScoringRules rules;
  rules.overlong = "truncate";
  const auto cut = score(one_item("0123456789", {"ab", "cd"}), rules, 8)[0];
  EXPECT_TRUE(cut.windowed);
  EXPECT_EQ(cut.tokens, (std::vector<std::int64_t>{2, 2}));
  ScoringRules bare;
  bare.prefix = "none";
  bare.first_token = "free";
  const auto expected = score(one_item("3456789", {"ab", "cd"}), bare, 8)[0];
  EXPECT_NEAR(cut.log_prob[0], expected.log_prob[0], 1e-5);
  rules.overlong = "error";
  EXPECT_ERROR(score(one_item("0123456789", {"ab", "cd"}), rules, 8), kInvalidArgument,
               "exceed the context of 8");
}

TEST(ChoiceScorer, ASharedContextIsComputedOnce) {
  const std::string context(40, 'x');
  const auto comm = make_single_process_communicator();
  std::vector<ScoreRequest> requests;
  for (const char* choice : {"ab", "cd", "ef", "gh"}) {
    ScoreRequest request{toy_tokenizer().encode(context + choice, false), 40};
    requests.push_back(std::move(request));
  }
  // 40 inputs in common and one more each: one batch of 44 holds all four.
  EXPECT_EQ(make_batches(requests, 44).size(), 1U);
  EXPECT_EQ(make_batches(requests, 43).size(), 2U);
}

TEST(Decide, TheFirstOfEqualsMayWin) {
  ItemRecord item;
  item.log_prob = {-2.0, -1.0, -1.0, -3.0};
  item.tokens = item.characters = item.bytes = {1, 1, 1, 1};
  const auto rank = [&](std::int64_t gold, const char* tie) {
    ScoringRules rules;
    rules.tie = tie;
    item.gold = gold;
    decide(item, rules);
    return rank_of_gold(item, rules);
  };
  EXPECT_EQ(rank(1, "first"), 1);
  EXPECT_TRUE(item.tie && item.correct);
  EXPECT_EQ(rank(2, "first"), 2);
  EXPECT_TRUE(item.tie && !item.correct);
  EXPECT_EQ(rank(1, "wrong"), 2);
  EXPECT_EQ(rank(2, "right"), 1);
  EXPECT_EQ(rank(0, "right"), 3);
  EXPECT_FALSE(item.tie || item.correct);
  EXPECT_EQ(item.margin(), -1.0);
}

TEST(Ranking, SummariesHoldReciprocalRanksAndChance) {
  TaskItems items;
  items.header.name = "q";
  items.header.kind = "choice";
  items.header.bootstrap.resamples = 100;
  for (std::int64_t gold = 0; gold < 4; ++gold) {
    ItemRecord item;
    item.id = item.cluster = std::to_string(gold);
    item.log_prob = {-1.0, -2.0, -3.0, -4.0};
    item.tokens = item.characters = item.bytes = {1, 1, 1, 1};
    item.gold = gold;
    decide(item, items.header.rules);
    items.records.push_back(item);
  }
  const TaskSummary summary = summarise(items);
  EXPECT_EQ(summary.metric("acc"), 0.25);
  EXPECT_NEAR(summary.metric("mrr"), (1.0 + 1.0 / 2 + 1.0 / 3 + 1.0 / 4) / 4, 1e-15);
  EXPECT_EQ(summary.metric("chance"), 0.25);
}

}  // namespace
}  // namespace growmerge::eval
