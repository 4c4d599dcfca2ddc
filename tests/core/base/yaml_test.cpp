#include "core/base/yaml.h"

#include <gtest/gtest.h>

#include <string>

#include "core/base/error.h"
#include "tests/support/expect_error.h"

namespace growmerge {
namespace {

YamlNode parse(const std::string& text) { return parse_yaml_text(text, "x.yaml"); }

TEST(Yaml, WhatCannotBeginAValueIsNamedAndEnds) {
  for (const std::string text : {",", ",\n", ", 5", ",,,", "]", "}", "a: 1\n]", "[1],", "{}}"}) {
    EXPECT_ERROR(parse(text), kInvalidArgument, "x.yaml:", "not valid YAML");
  }
  YamlNode root;
  root.kind = YamlNode::Kind::kMap;
  EXPECT_ERROR(apply_override(root, "seed=,5"), kInvalidArgument, "--set seed=,5");
}

TEST(Yaml, AnAliasInsideWhatItStandsForIsRefused) {
  for (const std::string text :
       {"a: &a [*a]", "a: &a\n  b: {c: [1, *a]}", "&r {x: *r}", "a: &a [&b [*b]]"}) {
    EXPECT_ERROR(parse(text), kInvalidArgument, "x.yaml:", "inside what it stands for");
  }
}

TEST(Yaml, AliasesThatMultiplyAreRefusedBeforeTheyTakeMemory) {
  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string alias = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + alias;
    for (int j = 1; j < 10; ++j) {
      text += "," + alias;
    }
    text += "]\n";
  }
  EXPECT_ERROR(parse(text), kInvalidArgument, "x.yaml:5", "aliases");
}

TEST(Yaml, OrdinaryAliasesAreRead) {
  const YamlNode root = parse("a: &a {x: [1, 2]}\nb: *a\nc: [*a, *a]\n");
  EXPECT_EQ(root.find("b")->find("x")->items[1].as_int(), 2);
  EXPECT_EQ(root.find("c")->items.size(), 2U);
}

TEST(Yaml, DeepNestingIsRefused) {
  for (const char* pair : {"[]", "{}"}) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) {
      text += pair[0] == '[' ? "[" : "{a: ";
    }
    EXPECT_ERROR(parse(text), kInvalidArgument, "x.yaml:1");
  }
  EXPECT_ERROR(parse(std::string(300, '[') + std::string(300, ']')), kInvalidArgument, "nested");
  EXPECT_EQ(parse(std::string(150, '[') + std::string(150, ']')).kind, YamlNode::Kind::kSequence);
}

}  // namespace
}  // namespace growmerge
