#include "merging/recipe_documents.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

std::vector<RecipeDocument> order(const std::string& text) {
  return order_recipes(parse_yaml_documents(text, "r.yaml"));
}

TEST(RecipeDocuments, StandBehindThoseThatTheyNeed) {
  const auto ordered = order(
      "models: [{model: one+lora}, {model: two}]\n---\nname: two\nbase_model: one\n---\n"
      "name: one\nmodels: [{model: x}]\n");
  ASSERT_EQ(ordered.size(), 3U);
  EXPECT_EQ(ordered[0].name, "one");
  EXPECT_EQ(ordered[1].name, "two");
  EXPECT_EQ(ordered[2].name, "");
  EXPECT_EQ(ordered[2].needs, (std::vector<std::size_t>{0, 1}));
  const YamlNode placed = with_parts(ordered[2].recipe, ordered, "parts");
  EXPECT_EQ(placed.find("models")->items[0].find("model")->scalar, "parts/one+lora");
  EXPECT_EQ(
      with_parts(ordered[0].recipe, ordered, "p").find("models")->items[0].find("model")->scalar,
      "x");
}

TEST(RecipeDocuments, TheResultMayHaveAName) {
  const auto ordered = order("name: end\nbase_model: part\n---\nname: part\n");
  EXPECT_EQ(ordered.back().name, "end");
}

TEST(RecipeDocuments, AreRefusedWithPlace) {
  EXPECT_ERROR(order("name: a\n---\nname: a\n"), kInvalidArgument, "r.yaml:3", "'a'");
  EXPECT_ERROR(order("base_model: x\n---\nbase_model: y\n"), kInvalidArgument, "r.yaml:3",
               "without a name");
  EXPECT_ERROR(order("name: a\nbase_model: b\n---\nname: b\nbase_model: a\n---\nbase_model: a\n"),
               kInvalidArgument, "needs itself");
  EXPECT_ERROR(order("name: a\nbase_model: b\n---\nname: b\nbase_model: a\n"), kInvalidArgument,
               "itself");
  EXPECT_ERROR(order("name: a\n---\nname: b\n"), kUnsupported, "'a' and 'b'");
  EXPECT_ERROR(order("name: ../a\n---\nbase_model: x\n"), kInvalidArgument,
               "no name of a directory");
}

}  // namespace
}  // namespace growmerge::merging
