#include "merging/recipe.h"

#include <gtest/gtest.h>

#include "tests/merging/recipe_fixture.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

ParameterValue value_of(const std::string& text,
                        ParameterValue::Type type = ParameterValue::Type::kNumber) {
  return ParameterValue::parse(*parse_yaml_text("x: " + text, "r.yaml").find("x"), type, "x");
}

TEST(ParameterValue, ScalarGradientAndFilters) {
  EXPECT_DOUBLE_EQ(*value_of("0.25").at("any", 0.7), 0.25);
  const ParameterValue gradient = value_of("[0, 1, 3]");
  EXPECT_DOUBLE_EQ(*gradient.at("t", 0.0), 0.0);
  EXPECT_DOUBLE_EQ(*gradient.at("t", 0.25), 0.5);
  EXPECT_DOUBLE_EQ(*gradient.at("t", 0.75), 2.0);
  EXPECT_DOUBLE_EQ(*gradient.at("t", 1.0), 3.0);
  const ParameterValue filtered =
      value_of("[{filter: self_attn, value: 0.1}, {filter: mlp, value: [1, 2]}, {value: 9}]");
  EXPECT_DOUBLE_EQ(*filtered.at("model.layers.0.self_attn.q_proj.weight", 0.5), 0.1);
  EXPECT_DOUBLE_EQ(*filtered.at("model.layers.0.mlp.up_proj.weight", 0.5), 1.5);
  EXPECT_DOUBLE_EQ(*filtered.at("model.norm.weight", 0.0), 9.0);
  EXPECT_FALSE(value_of("[{filter: mlp, value: 1}]").at("model.norm.weight", 0).has_value());
  EXPECT_DOUBLE_EQ(*value_of("{filter: '*', value: 2}").at("x", 0), 2.0);
  const ParameterValue flags = value_of("[true, false]", ParameterValue::Type::kFlag);
  EXPECT_DOUBLE_EQ(*flags.at("t", 0.9), 1.0) << "flags take the entry below, no mean";
  EXPECT_DOUBLE_EQ(*flags.at("t", 1.0), 0.0);
}

TEST(ParameterValue, RefusesWhatIsNotOfTheGrammar) {
  EXPECT_ERROR(value_of("abc"), kInvalidArgument, "'x'", "r.yaml:1");
  EXPECT_ERROR(value_of("[]"), kInvalidArgument, "empty list");
  EXPECT_ERROR(value_of("[1, [2]]"), kInvalidArgument, "r.yaml:1", "must be a value");
  EXPECT_ERROR(value_of("[{filter: a, value: 1}, 2]"), kInvalidArgument, "{filter: ...");
  EXPECT_ERROR(value_of("[{filter: a}]"), kInvalidArgument, "key 'value' is missing");
  EXPECT_ERROR(value_of("[{filter: a, value: 1, t: 2}]"), kInvalidArgument, "unknown key 't'");
  EXPECT_ERROR(value_of(".nan"), kInvalidArgument, "number");
  EXPECT_ERROR(value_of("2", ParameterValue::Type::kFlag), kInvalidArgument, "'x'");
}

TEST(TensorDepth, OnlyLayersHaveDepth) {
  EXPECT_DOUBLE_EQ(tensor_depth("model.layers.3.mlp.up_proj.weight", 7), 0.5);
  EXPECT_DOUBLE_EQ(tensor_depth("model.layers.0.mlp.up_proj.weight", 1), 1.0);
  EXPECT_DOUBLE_EQ(tensor_depth("model.embed_tokens.weight", 7), 0.0);
  EXPECT_DOUBLE_EQ(tensor_depth("lm_head.weight", 7), 0.0);
}

// Absolute paths are not looked up while parsing.
const char* const kTies = R"(merge_method: ties
base_model: /b
models:
  - model: /b
  - model: /m1
    parameters: {weight: 0.5, density: [0.2, 0.8]}
  - model: /m2
parameters: {weight: 2, normalize: false, lambda: 0.7, int8_mask: true}
dtype: torch.float32
out_dtype: bfloat16
)";

TEST(Recipe, PrecedenceAndBaseApart) {
  const Recipe r = parse(kTies);
  EXPECT_STREQ(r.method->name, "ties");
  EXPECT_EQ(r.base, "/b");
  ASSERT_EQ(r.models.size(), 2U);
  EXPECT_EQ(*r.dtype, "float32");
  EXPECT_EQ(*r.out_dtype, "bfloat16");
  EXPECT_DOUBLE_EQ(model_parameter(r, 0, "weight", std::nullopt, "t", 0), 0.5);
  EXPECT_DOUBLE_EQ(model_parameter(r, 1, "weight", std::nullopt, "t", 0), 2.0);
  EXPECT_DOUBLE_EQ(model_parameter(r, 0, "density", 1.0, "t", 0.5), 0.5);
  EXPECT_DOUBLE_EQ(model_parameter(r, 1, "density", 1.0, "t", 0.5), 1.0);
  EXPECT_DOUBLE_EQ(parameter(r, "lambda", 1.0, "t", 0), 0.7);
  EXPECT_DOUBLE_EQ(parameter(r, "normalize", 1.0, "t", 0), 0.0);
  EXPECT_EQ(parse(r.text).text, r.text) << "what the manifest keeps can be read again";
}

TEST(Recipe, RefusesUnknownNamesWithPlaceAndNearest) {
  const auto with = [](const std::string& line) {
    return parse("merge_method: linear\nmodels: [{model: /a}]\n" + line);
  };
  EXPECT_ERROR(with("paramters: {}"), kInvalidArgument, "r.yaml:3", "unknown key 'paramters'",
               "did you mean 'parameters'");
  EXPECT_ERROR(with("parameters: {weigth: 1}"), kInvalidArgument, "r.yaml:3", "'weight'");
  EXPECT_ERROR(with("parameters: {density: 0.5}"), kInvalidArgument, "linear has no density");
  EXPECT_ERROR(with("parameters: {lambda: 0.5}"), kInvalidArgument, "unknown key 'lambda'");
  for (const char* key : {"slices", "modules", "tokenizer_source", "tokenizer", "chat_template"}) {
    EXPECT_ERROR(with(std::string(key) + ": x"), kUnsupported, "r.yaml:3", key, "not supported");
  }
  EXPECT_ERROR(with("dtype: int8"), kInvalidArgument, "r.yaml:3", "int8", "bfloat16");
  EXPECT_ERROR(with("base_model: /b"), kInvalidArgument, "linear has no base", "/b");
  EXPECT_ERROR(parse("merge_method: tie\nmodels: [{model: /a}]"), kInvalidArgument, "r.yaml:1",
               "unknown merge_method 'tie'", "did you mean 'ties'", "task_arithmetic");
  EXPECT_ERROR(parse("models: [{model: /a}]"), kInvalidArgument, "'merge_method' is missing");
  EXPECT_ERROR(parse("merge_method: ties\nmodels: [{model: /a}]"), kInvalidArgument,
               "ties needs 'base_model'");
  EXPECT_ERROR(parse("merge_method: ties\nbase_model: /a\nmodels: [{model: /a}]"), kInvalidArgument,
               "no model is left");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: []"), kInvalidArgument, "'models'");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{path: /a}]"), kInvalidArgument,
               "unknown key 'path'");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{parameters: {}}]"), kInvalidArgument,
               "key 'model' is missing");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{model: x+lora}]"), kUnsupported, "adapters");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{model: org/name}]"), kNotFound, "r.yaml:2",
               "'org/name'", "not downloaded");
  EXPECT_ERROR(parse("merge_method: ties\nbase_model: /b\nmodels: [{model: /a}]\nparameters: "
                     "{density: 1.5}"),
               kInvalidArgument, "r.yaml:4", "density 1.5");
  EXPECT_ERROR(parse("merge_method: ties\nbase_model: /b\nmodels: [{model: /a}]\nparameters: "
                     "{rescale: true}"),
               kInvalidArgument, "'rescale: true' is not supported with ties", "false is accepted");
}

TEST(Recipe, SaysWhereAParameterOfAnotherPlaceOrMethodBelongs) {
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{model: /a}]\nparameters: {lambda: 1}"),
               kInvalidArgument, "linear has no lambda", "task_arithmetic, ties, dare_linear");
  EXPECT_ERROR(parse("merge_method: ties\nbase_model: /b\nmodels:\n"
                     "- {model: /a, parameters: {lambda: 1}}"),
               kInvalidArgument, "r.yaml:4", "ties takes it under the top level's parameters");
  EXPECT_ERROR(parse("merge_method: ties\nbase_model: /b\nmodels: [{model: /a}]\nparameters: "
                     "{int8_mask: 2}"),
               kInvalidArgument, "'int8_mask'");
}

TEST(Recipe, RandomMethodsTakeASeedAndRescale) {
  const std::string dare = "merge_method: dare_ties\nbase_model: /b\nmodels: [{model: /a}]\n";
  const Recipe r = parse(dare + "random_seed: 7\nparameters: {rescale: false, density: 0.5}");
  EXPECT_EQ(r.random_seed, 7U);
  EXPECT_EQ(parameter(r, "rescale", 1, "t", 0), 0);
  EXPECT_EQ(parse(dare).random_seed, 0U);
  EXPECT_ERROR(parse(dare + "random_seed: -1"), kInvalidArgument, "r.yaml:4", "-1 is negative");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{model: /a}]\nrandom_seed: 1"),
               kInvalidArgument, "r.yaml:3", "linear draws no random numbers");
}

TEST(Recipe, FisherNeedsStatistics) {
  EXPECT_ERROR(parse("merge_method: fisher\nmodels: [{model: /a}]"), kInvalidArgument,
               "needs 'statistics'", "growmerge stats");
  EXPECT_ERROR(parse("merge_method: linear\nmodels: [{model: /a, statistics: /s}]"),
               kInvalidArgument, "unknown key 'statistics'");
  EXPECT_ERROR(parse("merge_method: fisher\nmodels: [{model: /a, statistics: /s, parameters: "
                     "{weight: -1}}]"),
               kInvalidArgument, "negative");
  const Recipe r = parse("merge_method: fisher\nmodels: [{model: /a, statistics: /s}]");
  EXPECT_EQ(r.models[0].statistics, "/s");
}

TEST(Recipe, MissingWeightIsAnError) {
  const Recipe r = parse("merge_method: linear\nmodels: [{model: /a}]");
  EXPECT_ERROR(model_parameter(r, 0, "weight", std::nullopt, "t", 0), kInvalidArgument, "'weight'",
               "'/a'");
  EXPECT_ERROR(parameter(r, "normalize", std::nullopt, "layer", 0), kInvalidArgument, "'normalize'",
               "'layer'", "top level");
}

}  // namespace
}  // namespace growmerge::merging
