#include "launch/stage_identity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "core/base/error.h"

namespace growmerge::launch {
namespace {

/// A stage with everything given that its config can hold.
struct Example {
  const char* command;
  const char* config;
  std::set<std::string> places = {};
};

const std::vector<Example>& examples() {
  static const std::set<std::string> kTrainPlaces = {
      "microbatch_rows", "device",      "cuda_graphs",        "log_every",
      "bucket_mb",       "peak_tflops", "checkpoint_minutes", "timeout_s"};
  static const std::vector<Example> table = {
      {"tokenizer",
       "inputs: [{path: in/a.txt, language: nl}]\nspecial_tokens: [xy]\nvocab_size: 400\n"},
      {"tokenize", "tokenizer: in/tok\neos_token: x\ninputs: [{path: in/a.txt, language: nl}]\n"},
      {"artificial", "languages: [{name: base}, {name: small}]\n"},
      {"upscale", "model: in/m\n"},
      {"train",
       "model: in/m\nbudget: {steps: 3}\n"
       "mixture: {sources: [{path: in/a, language: nl, name: n, weight: 1}, {path: in/b, weight: "
       "1}]}\nheld_out: {cross_document: true, sources: [{path: in/c, language: nl}]}\n",
       kTrainPlaces},
      {"train",
       "init: {tokenizer: in/tok}\nmatch: [{model: in/m, tokens: 5}]\n"
       "mixture: {sources: [{path: in/a, weight: 1}]}\n",
       kTrainPlaces},
      {"stats", "model: in/m\nmixture: {sources: [{path: in/a, weight: 1}]}\n"},
      {"merge",
       "merge_method: fisher\ndtype: float32\nmodels:\n"
       "- {model: in/a, statistics: in/sa, parameters: {weight: 1.0}}\n"
       "- {model: in/b, statistics: in/sb, parameters: {weight: [0.5, 1.0]}}\n"},
      {"eval",
       "models: [{name: a, path: in/a}]\ntasks:\n"
       "- {name: t, kind: bpb, language: nl, path: [in/t.txt], limit: 5, context: 64}\n"
       "- {name: p, kind: pairs, path: [in/p.jsonl, in/q.jsonl]}\n"
       "- {name: c, kind: choice, language: en, path: [in/c.jsonl], choice: {layout: xcopa, "
       "shots_from: in/s.jsonl, shots: 1}}\n"
       "- {name: r, kind: recall, path: [in/r]}\n"},
      {"generate", "model: in/m\nprompts: [een]\n"},
      {"report",
       "results: [in/eval]\nsamples: [in/samples]\nmodels: {a: {role: base, baselines: [b]}, b: "
       "{}}\n"},
  };
  return table;
}

std::string identity_of(const StagePlan& plan) {
  std::vector<std::string> contents;
  for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
    contents.push_back(concat("what lies in input ", i));
  }
  return manifest_of(plan, contents).identity;
}

/// Keys of all scalars of a config as --print-config shows it, for apply_override.
std::vector<std::string> override_keys(const std::string& config) {
  std::vector<std::string> out;
  for (const DescribedField& field : list_fields(parse_yaml_text(config, "config"), {})) {
    std::string key;
    for (const char c : field.key) {
      key += c == '[' ? "." : c == ']' ? "" : std::string(1, c);
    }
    if (!field.value.starts_with("list of ")) {
      out.push_back(key);
    }
  }
  return out;
}

/// The plan with another value of the key, the first that the command takes; nothing where it takes
/// none of these.
std::optional<StagePlan> changed(const Command& command, const YamlNode& config,
                                 const std::string& key) {
  const std::string text = command.stage.plan(config).config;
  for (const char* value :
       {"2",     "3",      "0.25", "1000",   "true", "false", "float32", "bfloat16", "cosine",
        "sqrt",  "none",   "bos",  "right",  "free", "token", "error",   "gelu",     "lm-eval",
        "blimp", "linear", "SOV",  "suffix", "end",  "joint", "cpu",     "another"}) {
    YamlNode other = config;
    try {
      apply_override(other, key + "=" + value);
      StagePlan plan = command.stage.plan(other);
      if (plan.config != text) {
        return plan;
      }
    } catch (const Error&) {
      continue;  // not a value of this key
    }
  }
  return std::nullopt;
}

/// "tasks.0.kind" and "tasks.1.kind" are one key of different entries.
std::string without_numbers(std::string key) {
  std::erase_if(key, [](char c) { return c >= '0' && c <= '9'; });
  return key;
}

/// Whether both read in the same roles, from other paths.
bool reads_elsewhere(const StagePlan& a, const StagePlan& b) {
  bool is_elsewhere = false;
  for (std::size_t i = 0; i < a.inputs.size() && i < b.inputs.size(); ++i) {
    if (a.inputs[i].role != b.inputs[i].role) {
      return false;
    }
    is_elsewhere = is_elsewhere || a.inputs[i].path != b.inputs[i].path;
  }
  return is_elsewhere && a.inputs.size() == b.inputs.size();
}

TEST(StageIdentities, ChangeWithEveryValueAndWithNoPlaceOrPath) {
  for (const Example& example : examples()) {
    const Command& command = find_command(example.command);
    const StagePlan plan = command.stage.plan(parse_yaml_text(example.config, "example"));
    // As --print-config shows it, every key is there and may be changed.
    const YamlNode full = parse_yaml_text(plan.config, "printed");
    std::set<std::string> looked_at;  // and not fixed by the values of other keys, in some entry
    std::set<std::string> all;
    std::set<std::string> places;
    const std::vector<std::string> keys = override_keys(plan.config);
    for (const std::string& key : keys) {
      const std::optional<StagePlan> other = changed(command, full, key);
      all.insert(without_numbers(key));
      if (!other) {
        continue;
      }
      looked_at.insert(without_numbers(key));
      if (identity_of(*other) != identity_of(plan)) {
        EXPECT_FALSE(reads_elsewhere(plan, *other)) << example.command << ": " << key;
      } else if (!reads_elsewhere(plan, *other)) {
        places.insert(key);
      }
    }
    EXPECT_EQ(places, example.places) << example.command;
    EXPECT_GT(2 * looked_at.size(), all.size()) << example.command << ": too little is looked at";
  }
}

TEST(StageIdentities, HoldWhereInputsAreMoved) {
  for (const Example& example : examples()) {
    const Command& command = find_command(example.command);
    const auto planned = [&](const std::string& folder) {
      std::string text = example.config;
      for (std::size_t at = 0; (at = text.find("in/", at)) != std::string::npos;) {
        text.replace(at, 3, folder);
        at += folder.size();
      }
      return command.stage.plan(parse_yaml_text(text, "example"));
    };
    EXPECT_EQ(identity_of(planned("in/")), identity_of(planned("else/where/"))) << example.command;
    EXPECT_EQ(manifest_of(planned("in/"), std::vector<std::string>(planned("in/").inputs.size()))
                  .config.find("in/"),
              std::string::npos)
        << example.command;
  }
}

TEST(StageIdentities, TwoInputsInOnePlaceMayBeParted) {
  const Command& command = find_command("train");
  const auto planned = [&](const std::string& second) {
    return command.stage.plan(parse_yaml_text(
        "model: in/m\nbudget: {steps: 3}\nmixture: {sources: [{path: in/a, language: nl, weight: "
        "1}, {path: " +
            second + ", language: is, weight: 1}]}\n",
        "example"));
  };
  EXPECT_EQ(identity_of(planned("in/a")), identity_of(planned("elsewhere/a")));
}

TEST(StageIdentities, APathThatIsNotReadCountsByItsText) {
  const Command& command = find_command("train");
  const auto planned = [&](const std::string& tokenizer) {
    return command.stage.plan(
        parse_yaml_text("model: in/m\nbudget: {steps: 3}\ninit: {tokenizer: " + tokenizer +
                            "}\nmixture: {sources: [{path: in/a, weight: 1}]}\n",
                        "example"));
  };
  EXPECT_NE(identity_of(planned("in/one")), identity_of(planned("in/two")));
}

TEST(StageIdentities, AreOfTheFieldsAndNotOfTheirOrder) {
  StagePlan plan;
  plan.stage = "train";
  plan.config = "a: 1\nb: 2\n";
  plan.fields = {{"a", "1"}, {"b", "2"}};
  StagePlan other = plan;
  std::swap(other.fields[0], other.fields[1]);
  EXPECT_EQ(identity_of(plan), identity_of(other));
  other.fields = {{"a", "2"}, {"b", "1"}};
  EXPECT_NE(identity_of(plan), identity_of(other));
  other.fields = {{"a", "1"}};
  EXPECT_NE(identity_of(plan), identity_of(other));
}

TEST(StageIdentities, StagesOfAnEarlierVersionAreNamedAsSuch) {
  StagePlan plan;
  plan.stage = "train";
  const Manifest planned = manifest_of(plan, {});
  Manifest finished = planned;
  finished.identity = "of another making";
  finished.identity_version = 1;
  finished.growmerge_version = "0.0.1";
  finished.config = "lr: 1\n";
  const std::string change = describe_change(finished, planned);
  EXPECT_NE(change.find("growmerge 0.0.1, which made identities in another way"), std::string::npos)
      << change;
  EXPECT_EQ(change.find("config"), std::string::npos) << change;
}

}  // namespace
}  // namespace growmerge::launch
