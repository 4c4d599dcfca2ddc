#include "launch/experiment/templates.h"

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace growmerge::launch {
namespace {

YamlNode yaml(const std::string& text) { return parse_yaml_text(text, "test.yaml"); }

std::string expanded(const std::string& vars, const std::string& text) {
  const YamlNode table = yaml(vars);
  Scope scope;
  scope.vars = &table;
  return node_to_yaml(expand(yaml(text), scope));
}

std::string error_of(const std::string& vars, const std::string& text) {
  try {
    (void)expanded(vars, text);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Templates, VariablesMayBeNestedAndReferToEachOther) {
  EXPECT_EQ(expanded("{root: /d, path: '${root}/x', t: {nl: 5, is: 7}, lang: is}",
                     "{a: '${path}/y', b: '${t.${lang}}', c: '$${kept}', d: '${vars.root}'}"),
            "a: /d/x/y\nb: 7\nc: \"${kept}\"\nd: /d\n");
}

TEST(Templates, AloneAVariableKeepsItsKindAndIsSplicedIntoLists) {
  EXPECT_EQ(expanded("{xs: [1, two], m: {k: v}}", "{a: '${xs}', b: [zero, '${xs}'], c: '${m}'}"),
            "a:\n  - 1\n  - two\nb:\n  - zero\n  - 1\n  - two\nc:\n  k: v\n");
}

TEST(Templates, ForEachIsTheCrossProductInMapsAndLists) {
  EXPECT_EQ(
      expanded("{l: [a, b]}", "{'m-${x}-${y}': {for_each: {x: '${l}', y: [1, 2]}, v: '${x}${y}'}}"),
      "m-a-1:\n  v: a1\nm-a-2:\n  v: a2\nm-b-1:\n  v: b1\nm-b-2:\n  v: b2\n");
  EXPECT_EQ(expanded("{l: [a, b]}", "[{for_each: {x: '${l}'}, item: 'p${x}'}, end]"),
            "- pa\n- pb\n- end\n");
}

TEST(Templates, AListOfForEachMapsIsTheirUnion) {
  EXPECT_EQ(expanded("{}", "[{for_each: [{x: [a], y: [1, 2]}, {x: b, y: 3}], item: '${x}${y}'}]"),
            "- a1\n- a2\n- b3\n");
}

TEST(Templates, ALaterForEachVariableMayUseAnEarlierOne) {
  EXPECT_EQ(expanded("{t: {a: [1, 2], b: [3]}}",
                     "[{for_each: {x: [a, b], y: '${t.${x}}'}, item: '${x}${y}'}]"),
            "- a1\n- a2\n- b3\n");
}

TEST(Templates, NumbersStayNumbersAndQuotedWordsStayWords) {
  const YamlNode back = yaml(expanded("{n: 200}", "{a: '${n}k', b: 1e-3, c: \"12\", d: 'no'}"));
  EXPECT_EQ(back.find("a")->as_int(), 200'000);
  EXPECT_DOUBLE_EQ(back.find("b")->as_double(), 1e-3);
  EXPECT_EQ(back.find("c")->as_string(), "12");
  EXPECT_EQ(back.find("d")->as_string(), "no");
}

TEST(Templates, MistakesNameTheLineAndTheNearestName) {
  EXPECT_NE(error_of("{languages: [a]}", "a: 1\nb: ${langages}").find("test.yaml:2"),
            std::string::npos);
  EXPECT_NE(error_of("{languages: [a]}", "b: ${langages}").find("did you mean 'languages'"),
            std::string::npos);
  EXPECT_NE(error_of("{t: {nl: 1}}", "b: ${t.sv}").find("no 'sv' there"), std::string::npos);
  EXPECT_NE(error_of("{a: '${b}', b: '${a}'}", "x: ${a}").find("circle"), std::string::npos);
  EXPECT_NE(error_of("{a: [1, 2]}", "x: 'p${a}'").find("a single value is needed"),
            std::string::npos);
  EXPECT_NE(error_of("{}", "x: 'p${a'").find("no closing"), std::string::npos);
  EXPECT_NE(error_of("{}", "{s: {for_each: {x: [1, 2]}, v: 1}}").find("made twice"),
            std::string::npos);
}

TEST(Templates, MergingReplacesListsAndJoinsMaps) {
  EXPECT_EQ(node_to_yaml(merge_nodes(yaml("{a: {b: 1, c: 2}, l: [1, 2]}"),
                                     yaml("{a: {c: 3, d: 4}, l: [5]}"))),
            "a:\n  b: 1\n  c: 3\n  d: 4\nl:\n  - 5\n");
}

}  // namespace
}  // namespace growmerge::launch
