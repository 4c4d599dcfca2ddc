#include "core/base/config.h"

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace growmerge {
namespace {

struct Inner {
  double lr = 0.5;
  std::vector<std::int64_t> sizes = {1, 2};
  void describe(FieldVisitor& v) {
    v("lr", lr, "", "rate");
    v("sizes", sizes, "rows", "sizes");
  }
};

struct Outer {
  bool flag = false;
  std::int64_t steps = 3;
  std::string name = "a b";
  std::optional<double> maybe;
  Inner inner;
  std::vector<Inner> list;
  std::map<std::string, Inner> named;
  void describe(FieldVisitor& v) {
    v("flag", flag, "", "a flag");
    v("steps", steps, "steps", "how many");
    v("name", name, "", "a name");
    v("maybe", maybe, "", "may be absent");
    v("inner", inner, "", "nested");
    v("list", list, "", "several");
    v("named", named, "", "by name");
  }
};

std::string error_of(const std::string& yaml) {
  try {
    (void)config_from_yaml<Outer>(parse_yaml_text(yaml, "x.yaml"));
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    return e.what();
  }
  return "no error";
}

TEST(Config, ASecondDocumentIsNotPassedOver) {
  EXPECT_EQ(error_of("---\nsteps: 4\n"), "no error");
  EXPECT_EQ(error_of(""), "no error");
  const std::string error = error_of("steps: 4\n---\nsteps: 5\n");
  EXPECT_NE(error.find("x.yaml:3: a second document"), std::string::npos) << error;
}

TEST(Config, LoadsNestedListsMapsAndSuffixes) {
  const auto c = config_from_yaml<Outer>(
      parse_yaml_text("flag: true\nsteps: 2k\nmaybe: 1e-3\ninner: {lr: 2, sizes: [7]}\nlist: [{lr: "
                      "3}, {}]\nnamed: {z: {lr: 9}}\n",
                      "x"));
  EXPECT_TRUE(c.flag);
  EXPECT_EQ(c.steps, 2000);
  EXPECT_DOUBLE_EQ(*c.maybe, 1e-3);
  EXPECT_EQ(c.inner.sizes, std::vector<std::int64_t>{7});
  ASSERT_EQ(c.list.size(), 2u);
  EXPECT_EQ(c.list[0].lr, 3.0);
  EXPECT_EQ(c.named.at("z").lr, 9.0);
}

TEST(Config, DumpLoadsBackToTheSameText) {
  Outer c;
  c.list.resize(2);
  c.named["k: odd"] = Inner{};
  c.name = "quote \" and \\ and: colon";
  const std::string text = dump_config(c);
  EXPECT_EQ(dump_config(config_from_yaml<Outer>(parse_yaml_text(text, "dump"))), text);
}

TEST(Config, UnknownKeyNamesLineAndNearestKey) {
  const std::string message = error_of("flag: true\ninner:\n  lrr: 1\n");
  EXPECT_NE(message.find("x.yaml:3"), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean 'lr'"), std::string::npos) << message;
}

TEST(Config, DuplicateKeyIsRefusedWithBothLines) {
  const std::string message = error_of("steps: 1\nsteps: 2\n");
  EXPECT_NE(message.find("x.yaml:2: duplicate key 'steps'"), std::string::npos) << message;
}

TEST(Config, WrongTypeNamesPlaceAndValue) {
  const std::string message = error_of("steps: 1.5\n");
  EXPECT_NE(message.find("x.yaml:1:8: expected a whole number, got '1.5'"), std::string::npos)
      << message;
}

TEST(Config, OverridesReachNestedKeysAndListItems) {
  YamlNode root = parse_yaml_text("list: [{lr: 1}]\n", "x");
  apply_override(root, "inner.lr=4");
  apply_override(root, "list.0.lr=5");
  apply_override(root, "named.q.sizes=[8, 9]");
  const auto c = config_from_yaml<Outer>(root);
  EXPECT_EQ(c.inner.lr, 4.0);
  EXPECT_EQ(c.list[0].lr, 5.0);
  EXPECT_EQ(c.named.at("q").sizes, (std::vector<std::int64_t>{8, 9}));
  EXPECT_THROW(apply_override(root, "nonsense"), Error);
}

struct Counted {
  std::string path;
  std::vector<std::string> paths;
  std::string place = "here";
  double later = 0.0;
  Outer outer;
  Inner placed;
  void describe(FieldVisitor& v) {
    v("path", path, "", "read", v.kInput);
    v("paths", paths, "", "read", v.kInput);
    v("place", place, "", "where", v.kPlace);
    v.added("later", later, 0.0, "", "came later");
    v("outer", outer, "", "nested");
    v("placed", placed, "", "all of it a place", v.kPlace);
  }
};

std::vector<std::string> fields_of(Counted& config) {
  std::vector<std::string> out;
  for (const DescribedField& f : list_fields([&config](FieldVisitor& v) { config.describe(v); })) {
    out.push_back(f.key + " = " + f.value + (f.use == FieldUse::kInput ? " (input)" : ""));
  }
  return out;
}

TEST(ConfigFields, NameWhatCountsByKeyAndValue) {
  Counted c;
  const std::vector<std::string> bare = {"path = \"\"",
                                         "outer.flag = false",
                                         "outer.steps = 3",
                                         "outer.name = \"a b\"",
                                         "outer.maybe = null",
                                         "outer.inner.lr = 0.5",
                                         "outer.inner.sizes = [1, 2]"};
  EXPECT_EQ(fields_of(c), bare);
  c.place = "there";
  c.placed.lr = 7;
  EXPECT_EQ(fields_of(c), bare) << "places";
  c.path = "a b";
  c.paths = {"x", "y"};
  c.later = 0.5;
  c.outer.list.resize(1);
  c.outer.named["k"].sizes = {};
  EXPECT_EQ(fields_of(c),
            (std::vector<std::string>{
                "path = a b (input)", "paths[0] = x (input)", "paths[1] = y (input)",
                "later = 0.5", "outer.flag = false", "outer.steps = 3", "outer.name = \"a b\"",
                "outer.maybe = null", "outer.inner.lr = 0.5", "outer.inner.sizes = [1, 2]",
                "outer.list = list of 1", "outer.list[0].lr = 0.5", "outer.list[0].sizes = [1, 2]",
                "outer.named = {k}", "outer.named.k.lr = 0.5", "outer.named.k.sizes = []"}));
}

TEST(ConfigFields, OfATreeTellNumbersFromText) {
  const std::vector<std::string> inputs = {"model"};
  const YamlNode tree = parse_yaml_text(
      "models: [{model: a/b, weight: 1.0}, {model: c, weight: \"1.0\"}]\nempty: []\nno:\n", "x");
  const std::vector<DescribedField> expected = {
      {"models", "list of 2"},         {"models[0].model", "a/b", FieldUse::kInput},
      {"models[0].weight", "1.0"},     {"models[1].model", "c", FieldUse::kInput},
      {"models[1].weight", "\"1.0\""}, {"\"no\"", "null"}};
  EXPECT_EQ(list_fields(tree, inputs), expected);
}

}  // namespace
}  // namespace growmerge
