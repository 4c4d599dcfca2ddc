// Vocabularies: rows by token, made rows, and the tokenizer that results.
#include "merging/vocabulary/vocabulary_plan.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/tokenizer/tokenizer.h"
#include "merging/vocabulary/output_tokenizer.h"
#include "merging/vocabulary/token_table.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A byte-level BPE tokenizer of these tokens, in order, then the added ones.
std::string tokenizer_json(const std::vector<std::string>& tokens,
                           const std::vector<std::string>& added = {},
                           const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  Json json = {{"version", "1.0"},
               {"added_tokens", Json::array()},
               {"normalizer", nullptr},
               {"pre_tokenizer",
                {{"type", "ByteLevel"},
                 {"add_prefix_space", false},
                 {"trim_offsets", true},
                 {"use_regex", true}}},
               {"post_processor", nullptr},
               {"decoder", {{"type", "ByteLevel"}}},
               {"model", {{"type", "BPE"}, {"vocab", Json::object()}, {"merges", Json::array()}}}};
  std::int64_t id = 0;
  for (const std::string& token : tokens) {
    json["model"]["vocab"][token] = id++;
  }
  for (const std::string& token : added) {
    json["added_tokens"].push_back({{"id", id++},
                                    {"content", token},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  for (const auto& [first, second] : merges) {
    json["model"]["merges"].push_back(first + " " + second);
  }
  return json.dump();
}

class Vocabulary : public ::testing::Test {
 protected:
  VocabularyModel model(const std::string& name, const std::string& json, std::int64_t rows) {
    fs::create_directories(dir_.path() / name);
    std::ofstream(dir_.path() / name / "tokenizer.json") << json;
    return {{.path = dir_.path() / name, .adapter = {}}, rows};
  }
  testing::TemporaryDirectory dir_;
};

using Kind = RowMap::Kind;

TEST_F(Vocabulary, RowsAreTheirOwnThenTheOwnersThenTheBasesThenTheMean) {
  // <s> in all, x in 1 and 2, y in 0 and 2, z in 2 alone; rows of 2 are cut to 4.
  const std::vector<VocabularyModel> models = {
      model("m0", tokenizer_json({"<s>", "y"}), 2), model("m1", tokenizer_json({"x", "<s>"}), 5),
      model("m2", tokenizer_json({"z", "<s>", "x", "y", "beyond"}), 4)};
  const TokenizerRecipe recipe;
  const VocabularyPlan plan = plan_vocabulary(recipe, models, 0);
  const TokenTable table = parse_token_table(plan.tokenizer_json, "out");
  ASSERT_EQ(plan.num_rows, 4) << "a token without a row is left out";
  EXPECT_EQ(*table.find("<s>"), 0) << "the base's ids stay";
  EXPECT_EQ(*table.find("y"), 1);
  const auto row = [&](std::size_t m, const std::string& token) {
    return plan.maps[m].rows[static_cast<std::size_t>(*table.find(token))];
  };
  EXPECT_EQ(row(1, "<s>"), (RowMap::Row{Kind::kModel, 1, 1})) << "its own";
  EXPECT_EQ(row(0, "z"), (RowMap::Row{Kind::kModel, 2, 0})) << "the only owner's";
  EXPECT_EQ(row(1, "y"), (RowMap::Row{Kind::kModel, 0, 1})) << "the base's";
  ASSERT_EQ(row(0, "x").kind, Kind::kMean);
  EXPECT_EQ(plan.maps[0].means[0],
            (std::vector<RowMap::Row>{{Kind::kModel, 1, 0}, {Kind::kModel, 2, 2}}));
  EXPECT_NE(plan.report.find("\tmean 1:0 2:2"), std::string::npos) << plan.report;
  EXPECT_EQ(plan.new_ids.at(1), 1);
}

TEST_F(Vocabulary, ATokenThatNobodyHasIsTheMeanOfItsPieces) {
  const std::string own = tokenizer_json({"a", "b", "c"});
  const std::vector<VocabularyModel> models = {model("m", own, 3)};
  TokenizerRecipe recipe;
  recipe.source = TokenizerRecipe::Source::kModel;
  recipe.model.path = dir_.path() / "other";
  (void)model("other", tokenizer_json({"c", "a", "b", "ab", "\xc4\xa0"}, {}, {{"a", "b"}}), 5);
  const VocabularyPlan plan = plan_vocabulary(recipe, models, 0);
  ASSERT_EQ(plan.num_rows, 5);
  EXPECT_EQ(plan.maps[0].rows[1], (RowMap::Row{Kind::kModel, 0, 0}));
  ASSERT_EQ(plan.maps[0].rows[3].kind, Kind::kMean);
  EXPECT_EQ(plan.maps[0].means[0],
            (std::vector<RowMap::Row>{{Kind::kModel, 0, 0}, {Kind::kModel, 0, 1}}));
  EXPECT_EQ(plan.maps[0].rows[4].kind, Kind::kZero) << "a space has no piece there";
  EXPECT_TRUE(plan.is_a_models_own);
}

TEST_F(Vocabulary, RulesOverrideAndNameWhatTheyCannotFind) {
  const std::vector<VocabularyModel> models = {model("m0", tokenizer_json({"a", "b"}), 2),
                                               model("m1", tokenizer_json({"b", "a"}), 2)};
  TokenizerRecipe recipe;
  recipe.pad_to_multiple_of = 4;
  recipe.tokens = {{"a",
                    {.kind = TokenRule::Kind::kZero,
                     .model = {},
                     .token = {},
                     .row = {},
                     .force = true,
                     .where = "r:1"}},
                   {"<new>",
                    {.kind = TokenRule::Kind::kModelToken,
                     .model = models[1].reference,
                     .token = "b",
                     .row = {},
                     .force = false,
                     .where = "r:2"}}};
  const VocabularyPlan plan = plan_vocabulary(recipe, models, 0);
  ASSERT_EQ(plan.num_rows, 4);
  EXPECT_EQ(plan.maps[1].rows[0].kind, Kind::kZero);
  EXPECT_EQ(plan.maps[0].rows[2], (RowMap::Row{Kind::kModel, 1, 0}));
  EXPECT_EQ(plan.maps[0].rows[3].kind, Kind::kPadding);
  EXPECT_FALSE(plan.is_a_models_own);
  recipe.tokens[1].second.token = "nope";
  EXPECT_ERROR(plan_vocabulary(recipe, models, 0), kInvalidArgument, "r:2", "'nope'");
  recipe.tokens[1].second.model.path = "/elsewhere";
  EXPECT_ERROR(plan_vocabulary(recipe, models, 0), kInvalidArgument, "no model of this merge");
}

TEST(UnionTokenizer, ReachesTheTokensOfBoth) {
  const std::string one = tokenizer_json({"a", "b", "c", "d", "ab"}, {"<s>"}, {{"a", "b"}});
  const std::string two = tokenizer_json({"d", "c", "b", "a", "cd"}, {"<s>", "<t>"}, {{"c", "d"}});
  const std::string both = union_tokenizer({{one, "one", 6}, {two, "two", 7}});
  const Tokenizer tokenizer = Tokenizer::parse(both, "union");
  EXPECT_EQ(*tokenizer.token_to_id("<s>"), 5) << "the base's added token keeps its id";
  EXPECT_EQ(tokenizer.encode("abcd<t>", false), (std::vector<std::int32_t>{4, 6, 7}));
  EXPECT_EQ(union_tokenizer({{one, "one", 6}, {one, "again", 6}}), one) << "nothing to add";
}

TEST(TokenTable, FindsTokensInOtherPlaces) {
  const TokenTable a = parse_token_table(tokenizer_json({"a", "b", "c"}), "a");
  EXPECT_EQ(first_conflict(a, parse_token_table(tokenizer_json({"a", "b"}, {"c", "d"}), "b"), 9),
            "");
  EXPECT_NE(first_conflict(a, parse_token_table(tokenizer_json({"a", "c", "b"}), "b"), 9)
                .find("id 1 is 'b'"),
            std::string::npos);
  EXPECT_EQ(first_conflict(a, parse_token_table(tokenizer_json({"a", "b", "x"}), "b"), 2), "")
      << "rows beyond the embedding do not count";
}

TEST(TokenTable, SaysWhatIsWrongWithAFile) {
  EXPECT_ERROR(parse_token_table("{}", "file"), kCorrupt, "'file'");
  const auto with_added = [](const std::string& token) {
    return R"({"model": {"vocab": {}}, "added_tokens": [)" + token + "]}";
  };
  EXPECT_ERROR(parse_token_table(R"({"model": {"vocab": {"a": "0"}}})", "file"), kCorrupt, "'a'");
  EXPECT_ERROR(parse_token_table(R"({"model": {"vocab": {"a": 99999999999}}})", "file"),
               kUnsupported, "'a'", "over");
  EXPECT_ERROR(parse_token_table(with_added(R"({"id": 1, "content": 2})"), "file"), kCorrupt,
               "'content'");
  EXPECT_ERROR(parse_token_table(with_added(R"({"id": "x", "content": "c"})"), "file"), kCorrupt,
               "added token");
  const std::string odd =
      R"({"model": {"type": 3, "vocab": {"a": 0}, "merges": [[1, 2], null]}, "added_tokens": 7})";
  const std::string one = tokenizer_json({"a", "b"}, {}, {{"a", "b"}});
  EXPECT_NO_THROW((void)union_tokenizer({{one, "one", 2}, {odd, "odd", 1}}));
  EXPECT_ERROR(stripped_tokenizer({odd, "odd", 0}), kUnsupported, "'odd'", "BPE");
}

TEST(MappedTiles, CopiesMeansZerosAndPadding) {
  const std::vector<float> first = {1, 2, 3, 4, 5, 6};  // 3 rows of 2
  const std::vector<float> second = {10, 20, 30, 40};
  const auto source = [](const std::vector<float>& values) {
    return TileSource{.bytes = std::as_bytes(std::span(values)), .dtype = at::kFloat, .label = "t"};
  };
  RowMap map;
  map.means = {{{Kind::kModel, 0, 0}, {Kind::kModel, 1, 1}}};
  map.rows = {{Kind::kModel, 1, 0},
              {Kind::kZero, 0, 0},
              {Kind::kMean, 0, 0},
              {Kind::kModel, 0, 2},
              {Kind::kPadding, 0, 0}};
  const TileSource mapped = mapped_tiles(map, {source(first), source(second)}, 2, "mapped");
  std::vector<float> out(10);
  mapped.load(0, 10, out.data());
  EXPECT_EQ(out, (std::vector<float>{10, 20, 0, 0, 15.5F, 21, 5, 6, 7.625F, 11.75F}));
  mapped.load(3, 4, out.data());  // from inside a row into another
  EXPECT_EQ(std::vector<float>(out.begin(), out.begin() + 4),
            (std::vector<float>{0, 15.5F, 21, 5}));
}

}  // namespace
}  // namespace growmerge::merging
