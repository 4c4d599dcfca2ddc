// Recipes of slices and modules: what goes where, and what is refused.
#include <gtest/gtest.h>

#include "tests/merging/recipe_fixture.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

TEST(Slices, ParametersOfSourceSliceModuleAndTopLevelInThisOrder) {
  const Recipe r = parse(R"(merge_method: task_arithmetic
base_model: /b
parameters: {weight: 1, lambda: 10, normalize: 1}
modules:
  default:
    parameters: {weight: 2, lambda: 20}
    slices:
    - sources:
      - {model: /b, layer_range: [0, 2]}
      - {model: /m, layer_range: [4, 6], parameters: {weight: 4}}
      - {model: /n, layer_range: [0, 2]}
      parameters: {weight: 3}
    - sources:
      - {model: /m, layer_range: [1, 2]}
      - {model: /n, layer_range: [3, 4]}
      base_model: /n
)");
  ASSERT_EQ(r.slices.size(), 2U);
  EXPECT_EQ(r.models.size(), 2U) << "each model once";
  ASSERT_EQ(r.bases.size(), 2U);
  EXPECT_EQ(r.base, "/b");
  const RecipeSlice& first = r.slices[0];
  ASSERT_EQ(first.sources.size(), 2U) << "the base is no source";
  EXPECT_EQ(*first.num_layers, 2);
  EXPECT_EQ(first.sources[0].first_layer, 4);
  const auto weight = [&r](const RecipeSlice& slice, std::size_t source) {
    return r.source_parameter(slice, slice.sources[source], "weight", {}, "t", 0);
  };
  EXPECT_EQ(weight(first, 0), 4);
  EXPECT_EQ(weight(first, 1), 3);
  EXPECT_EQ(weight(r.slices[1], 0), 2);
  EXPECT_EQ(r.bases[r.slices[1].base->model].path, "/n");
  EXPECT_EQ(r.slice_parameter(first, "lambda", {}, "t", 0), 20);
  EXPECT_EQ(r.slice_parameter(first, "normalize", {}, "t", 0), 1) << "numbers as flags";
}

TEST(Slices, AreRefusedWithPlaceAndReason) {
  const auto slices = [](const std::string& list, const std::string& head = "linear") {
    return parse("merge_method: " + head + "\nslices:\n" + list);
  };
  EXPECT_ERROR(slices("- sources: [{model: /a}]"), kInvalidArgument, "r.yaml:3", "'layer_range'");
  EXPECT_ERROR(slices("- sources: [{model: /a, layer_range: [3, 3]}]"), kInvalidArgument,
               "r.yaml:3", "no layer");
  EXPECT_ERROR(slices("- sources: [{model: /a, layer_range: [0, 2]}, {model: /b, layer_range: "
                      "[0, 3]}]"),
               kInvalidArgument, "3 layers", "same number");
  EXPECT_ERROR(slices("- source: [{model: /a, layer_range: [0, 2]}]"), kInvalidArgument,
               "unknown key 'source'", "did you mean 'sources'");
  EXPECT_ERROR(slices("- sources: [{model: /a, layer_range: [0, 2]}]", "ties\nbase_model: /b"),
               kInvalidArgument, "'/b'", "not among the sources");
  EXPECT_ERROR(slices("- sources: [{model: /a, layer_range: [0, 2]}]", "ties"), kInvalidArgument,
               "needs 'base_model'");
  EXPECT_ERROR(parse("merge_method: linear\nmodules: {a: {models: [{model: /a}]}, b: {models: "
                     "[{model: /b}]}}"),
               kUnsupported, "2 entries");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{model: /a}]\nslices: []"), kUnsupported,
               "'slices' beside 'models'");
}

TEST(Recipe, HabitsOfPyYamlAndMergekit) {
  const Recipe r = parse(R"(merge_method: ties
base_model: /b
models:
- {model: /a, parameters: &d {weight: "1e-5", density: 1}}
- {model: /c, parameters: {<<: *d, weight: true}}
parameters: {normalize: Yes, int8_mask: 1}
dtype: torch.bfloat16
)");
  EXPECT_DOUBLE_EQ(model_parameter(r, 0, "weight", {}, "t", 0), 1e-5);
  EXPECT_DOUBLE_EQ(model_parameter(r, 1, "weight", {}, "t", 0), 1.0);
  EXPECT_DOUBLE_EQ(model_parameter(r, 1, "density", {}, "t", 0), 1.0) << "from the merge key";
  EXPECT_DOUBLE_EQ(parameter(r, "normalize", {}, "t", 0), 1.0);
  EXPECT_EQ(*r.dtype, "bfloat16");
  ASSERT_EQ(r.notes.size(), 1U) << "what changes nothing is said";
  EXPECT_NE(r.notes[0].find("int8_mask"), std::string::npos);
  EXPECT_EQ(parse(r.yaml).text, r.text) << "what the model card shows can be run again";
}

TEST(Recipe, WhatMergekitLeavesUnreadIsTakenAloud) {
  const Recipe r = parse(
      "merge_method: task_arithmetic\nbase_model: /b\nmodels: [{model: /a, parameters: {weight: 1, "
      "density: 0.5}}]\nparameters: {int8_mask: true}");
  EXPECT_EQ(r.notes.size(), 2U);
  EXPECT_EQ(parse("merge_method: linear\nmodels: [{model: /a}]\nparameters: {weight: 1, int8_mask: "
                  "true}")
                .notes.size(),
            1U);
}

TEST(Recipe, KnownMethodsAreUnsupportedAndNotUnknown) {
  EXPECT_ERROR(parse("merge_method: regmean\nmodels: [{model: /a}]"), kUnsupported, "r.yaml:1",
               "'regmean' is not supported");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{model: /a}]\nexperts: []"), kUnsupported,
               "mergekit-moe");
}

TEST(Recipe, ABaseThatIsNotListedIsOneMoreModelOfAMethodWithout) {
  const Recipe r =
      parse("merge_method: linear\nbase_model: /b\nmodels: [{model: /a}]\nparameters: {weight: 1}");
  ASSERT_EQ(r.models.size(), 2U);
  EXPECT_EQ(r.models[1].path, "/b");
  EXPECT_EQ(r.leader->path, "/b");
}

TEST(Recipe, OwnKeys) {
  const auto with = [](const std::string& line) {
    return parse("merge_method: linear\nmodels: [{model: /a}]\n" + line);
  };
  EXPECT_EQ(*with("out_shard_size: 2B").shard_bytes, 2'000'000'000U);
  EXPECT_EQ(*with("out_shard_size: 300").shard_bytes, 300U);
  EXPECT_TRUE(with("strict: true").is_strict);
  EXPECT_EQ(with("allow_config_differences: [rope_theta]").allowed_differences.size(), 1U);
  EXPECT_ERROR(with("allow_config_differences: [rope_thet]"), kInvalidArgument, "rope_theta");
  EXPECT_ERROR(with("out_shard_size: 0"), kInvalidArgument, "r.yaml:3", "no positive");
}

TEST(TokenizerRecipe, SourcesRulesAndPadding) {
  const Recipe r = parse(R"(merge_method: linear
models: [{model: /a}]
tokenizer:
  source: base
  pad_to_multiple_of: 64
  tokens:
    <x>: {source: {kind: zero}, force: true}
    <y>: {source: {kind: model_token, model: /a, token_id: 3}}
    <z>: {source: /a}
)");
  ASSERT_TRUE(r.tokenizer.has_value());
  EXPECT_EQ(r.tokenizer->source, TokenizerRecipe::Source::kBase);
  EXPECT_EQ(r.tokenizer->pad_to_multiple_of, 64);
  ASSERT_EQ(r.tokenizer->tokens.size(), 3U);
  EXPECT_TRUE(r.tokenizer->tokens[0].second.force);
  EXPECT_EQ(r.tokenizer->tokens[0].second.kind, TokenRule::Kind::kZero);
  EXPECT_EQ(*r.tokenizer->tokens[1].second.row, 3);
  EXPECT_EQ(r.tokenizer->tokens[2].second.model.path, "/a");
  const auto with = [](const std::string& lines) {
    return parse("merge_method: linear\nmodels: [{model: /a}]\n" + lines);
  };
  EXPECT_ERROR(with("tokenizer_source: union\ntokenizer: {source: union}"), kInvalidArgument,
               "not both");
  EXPECT_ERROR(with("tokenizer: {tokens: {x: {force: true}}}"), kInvalidArgument, "r.yaml:3",
               "'source' is missing");
  EXPECT_ERROR(with("tokenizer: {tokens: {x: {source: {kind: ones}}}}"), kInvalidArgument,
               "'ones'");
  EXPECT_ERROR(with("tokenizer: {pad_to_multiple_of: 0}"), kInvalidArgument, "1 or more");
}

TEST(ChatTemplate, NamesAndText) {
  const auto with = [](const std::string& value) {
    return parse("merge_method: linear\nmodels: [{model: /a}]\nchat_template: " + value);
  };
  EXPECT_EQ(*with("auto").chat_template, "auto");
  EXPECT_NE(with("chatml").chat_template->find("<|im_start|>"), std::string::npos);
  EXPECT_EQ(*with("'{{ x }}'").chat_template, "{{ x }}");
  EXPECT_ERROR(with("chatmll"), kUnsupported, "r.yaml:3", "'chatmll' is not supported");
}

}  // namespace
}  // namespace growmerge::merging
