#include "eval/evaluate.h"
#include "core/base/files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "eval/compare.h"
#include "eval/generate.h"
#include "tests/eval/thread_ranks.h"
#include "tests/eval/toy_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::eval {
namespace {

using ::growmerge::testing::TemporaryDirectory;
using ::growmerge::testing::ThreadRanks;
using ::growmerge::testing::toy_model;
using ::growmerge::testing::toy_tokenizer;

std::vector<Document> documents_for(const TaskConfig&) {
  return {{"a", "The quick brown fox jumps."}, {"b", "Over"}, {"c", "the lazy dog, twice."}};
}

EvalConfig toy_config(const std::filesystem::path& dir) {
  std::filesystem::create_directories(dir / "blimp");
  for (const std::string uid : {"one", "two"}) {
    std::ofstream out(dir / "blimp" / (uid + ".jsonl"));
    for (int i = 0; i < 9; ++i) {
      out << R"({"sentence_good":"good )" << uid << i << R"(","sentence_bad":"bad )" << i << uid
          << R"(","UID":")" << uid << R"(","linguistics_term":"t","pairID":")" << i << "\"}\n";
    }
  }
  std::ofstream(dir / "pairs.tsv") << "good\tbad\nab cd\tcd ab\nxx\tyy\n";
  EvalConfig config;
  config.batch_tokens = 20;
  config.bootstrap_resamples = 200;
  TaskConfig blimp;
  blimp.kind = "blimp";
  blimp.preset = "lm-eval";
  blimp.path = {(dir / "blimp").string()};
  blimp.limit = 7;
  TaskConfig pairs;
  pairs.name = "pairs";
  pairs.path = {(dir / "pairs.tsv").string()};
  pairs.columns.good = "good";
  pairs.columns.bad = "bad";
  TaskConfig text;
  text.kind = "bpb";
  text.language = "en";
  text.path = {"unused"};
  text.max_characters = 20;
  config.tasks = {blimp, pairs, text};
  return config;
}

std::map<std::string, std::string> files_of(const std::filesystem::path& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file()) {
      files[std::filesystem::relative(entry.path(), dir).string()] = read_file(entry.path());
    }
  }
  return files;
}

TEST(Evaluate, WritesTheSameBytesForAnyNumberOfRanks) {
  const TemporaryDirectory dir;
  const EvalConfig config = toy_config(dir.path());
  const Model model = toy_model(1);
  const auto alone = make_single_process_communicator();
  const ModelIdentity identity{"toy", "models/toy", "id", "", ""};
  const Results results = evaluate(config, documents_for, model, toy_tokenizer(), identity, *alone,
                                   dir.path() / "one", false);
  const auto expected = files_of(dir.path() / "one");
  EXPECT_EQ(expected.size(), 4U);
  EXPECT_EQ(expected.count("items/bpb_en.jsonl"), 1U);
  EXPECT_EQ(results.find("blimp")->num_items, 14);
  EXPECT_EQ(results.find("bpb_en")->metric("bytes"), 20 + 4 + 20);
  for (const int size : {2, 4}) {
    const auto out = dir.path() / std::to_string(size);
    ThreadRanks(size).run([&](Communicator& comm) {
      ASSERT_GT(comm.size(), 1);
      (void)evaluate(config, documents_for, model, toy_tokenizer(), identity, comm, out, false);
    });
    EXPECT_EQ(files_of(out), expected) << size << " ranks";
  }
  EXPECT_EQ(results_json(read_results(dir.path() / "one")), results_json(results));
}

TEST(Evaluate, OneEvaluatorServesManyModels) {
  const TemporaryDirectory dir;
  const EvalConfig config = toy_config(dir.path());
  const auto comm = make_single_process_communicator();
  int loads = 0;
  Evaluator evaluator(
      config,
      [&](const TaskConfig& task) {
        ++loads;
        return documents_for(task);
      },
      *comm);
  const Tokenizer tokenizer = toy_tokenizer();
  (void)evaluator.evaluate(toy_model(1), tokenizer, {"a", "", "", "", ""}, dir.path() / "a", false);
  (void)evaluator.evaluate(toy_model(2), tokenizer, {"b", "", "", "", ""}, dir.path() / "b", false);
  EXPECT_EQ(loads, 1);
  const ComparisonTable table =
      compare_results(dir.path() / "a", dir.path() / "b", config.bootstrap());
  EXPECT_EQ(table.rows.size(), 4U);  // blimp, its one phenomenon, pairs, text
  EXPECT_TRUE(table.left_out.empty());
}

TEST(Evaluate, LimitedResultsSayHowMuchThereWas) {
  const TemporaryDirectory dir;
  EvalConfig config = toy_config(dir.path());  // the first 7 of each paradigm of 9
  config.tasks[2].limit = 2;
  const auto comm = make_single_process_communicator();
  const Results results = evaluate(config, documents_for, toy_model(1), toy_tokenizer(),
                                   {"toy", "", "", "", ""}, *comm, dir.path() / "out", false);
  const auto json = nlohmann::json::parse(read_file(dir.path() / "out" / "results.json"));
  EXPECT_EQ(json["n-samples"]["blimp"]["original"], 18);
  EXPECT_EQ(json["n-samples"]["blimp"]["effective"], 14);
  EXPECT_EQ(json["n-samples"]["blimp_two"]["original"], 9);
  EXPECT_EQ(json["n-samples"]["blimp_two"]["effective"], 7);
  EXPECT_EQ(json["n-samples"]["pairs"]["original"], 2);
  EXPECT_EQ(json["n-samples"]["bpb_en"]["original"], 3);
  EXPECT_EQ(json["n-samples"]["bpb_en"]["effective"], 2);
  EXPECT_EQ(json["config"]["limit"]["blimp"], 7);
  EXPECT_TRUE(json["config"]["limit"]["pairs"].is_null());
  EXPECT_EQ(json["configs"]["blimp"]["preset"], "lm-eval");
  EXPECT_EQ(json["configs"]["pairs"]["columns"]["bad"], "bad");
  EXPECT_EQ(json["configs"]["bpb_en"]["max_characters"], 20);
  EXPECT_EQ(results_json(read_results(dir.path() / "out")), results_json(results));
}

TEST(Evaluate, DeterministicScoresAreThoseOfItemsAlone) {
  const TemporaryDirectory dir;
  EvalConfig config = toy_config(dir.path());
  config.batch_tokens = 8192;
  config.deterministic = true;
  const auto comm = make_single_process_communicator();
  const auto items = [&](const char* out) {
    const Results results = evaluate(config, documents_for, toy_model(1), toy_tokenizer(),
                                     {"toy", "", "", "", ""}, *comm, dir.path() / out, false);
    EXPECT_EQ(results.batch_tokens, 1);
    std::ifstream file(dir.path() / out / "items" / "blimp.jsonl");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
      lines.push_back(line);
    }
    return lines;
  };
  const std::vector<std::string> many = items("many");
  config.tasks[0].limit = 1;  // of each of the two paradigms
  const std::vector<std::string> few = items("few");
  ASSERT_EQ(few.size(), 3U);  // the first line says how they were scored
  for (std::size_t i = 1; i < few.size(); ++i) {
    EXPECT_EQ(std::count(many.begin(), many.end(), few[i]), 1) << few[i];
  }
}

TEST(Evaluate, ATokenizerOfMoreTokensThanTheModelIsRefused) {
  const TemporaryDirectory dir;
  Model model = toy_model(1);
  model.config.vocab_size = 98;
  const auto comm = make_single_process_communicator();
  EXPECT_ERROR(evaluate(toy_config(dir.path()), documents_for, model, toy_tokenizer(),
                        {"toy", "", "", "", ""}, *comm, "", false),
               kMismatch, "evaluating 'toy'", "99 tokens", "vocabulary 98");
}

TEST(Evaluate, AFailureOnOneRankReachesAll) {
  const TemporaryDirectory dir;
  const EvalConfig config = toy_config(dir.path());
  EXPECT_THROW(ThreadRanks(3).run([&](Communicator& comm) {
    (void)evaluate(
        config,
        [&](const TaskConfig& task) {
          if (comm.rank() == 1) {
            fail(ErrorCode::kIo, "cannot read");
          }
          return documents_for(task);
        },
        toy_model(1), toy_tokenizer(), {}, comm, {}, false);
  }),
               Error);
}

TEST(EvalConfigTest, LoadsAndRefuses) {
  const auto parse = [](const std::string& text) {
    return config_from_yaml<EvalConfig>(parse_yaml_text(text, "eval.yaml"));
  };
  const EvalConfig config = parse(
      "batch_tokens: 1k\n"
      "tasks:\n"
      "  - {kind: multiblimp, path: data.tsv, language: nld, preset: lm-eval}\n"
      "  - {kind: bpb, path: [a, b], rules: {prefix: eos}}\n");
  EXPECT_EQ(config.tasks[0].full_name(), "multiblimp_nld");
  EXPECT_EQ(config.tasks[1].path.size(), 2U);
  EXPECT_EQ(config.batch_tokens, 1000);
  const auto error = [&](const std::string& text) {
    try {
      (void)parse(text);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(error("tasks: [{kind: blump, path: x}]").find("kind is 'blump'"), std::string::npos);
  EXPECT_NE(error("tasks: [{kind: bpb, path: x}, {kind: bpb, path: y}]").find("two tasks"),
            std::string::npos);
  EXPECT_NE(error("tasks: [{kind: bpb, path: x, rules: {tie: right}}]").find("only prefix"),
            std::string::npos);
  EXPECT_NE(error("tasks: [{path: x, preset: orignal}]").find("preset is 'orignal'"),
            std::string::npos);
  EXPECT_NE(error("tasks: [{path: x, rules: {prefix: none}}]").find("first_token: free"),
            std::string::npos);
  EXPECT_NE(error("tasks: [{path: x, name: a/b}]").find("a name is made of"), std::string::npos);
  EXPECT_NE(error("tasks: []").find("tasks is empty"), std::string::npos);
}

TEST(EvalConfigTest, DryRunSaysWhatIsReadAndHowItIsScored) {
  const TemporaryDirectory dir;
  EvalConfig config = toy_config(dir.path());
  config.dtype = "bfloat16";
  config.tasks[2].path = {(dir.path() / "pairs.tsv").string()};
  config.tasks[2].context = 11;
  config.tasks[2].prefix_each_window = true;
  const std::string text = describe_tasks(config);
  EXPECT_NE(text.find("sum of log p; bfloat16 products"), std::string::npos) << text;
  EXPECT_NE(text.find("prefix auto of each window, context 11, stride 5, first 20 characters"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("blimp: blimp, reads 2 files"), std::string::npos) << text;
  EXPECT_NE(text.find("delimiter ' ', tie right"), std::string::npos) << text;
  config.tasks[0].path = {(dir.path() / "nowhere").string()};
  EXPECT_THROW((void)describe_tasks(config), Error);
}

TEST(DrawToken, GreedyTemperatureAndNucleus) {
  const std::vector<float> logits = {0.0F, std::log(3.0F), std::log(6.0F), std::log(6.0F)};
  EXPECT_EQ(draw_token(logits, 0.0, 1.0, 0.9), 2);  // the first of equals
  // Probabilities 1/16, 3/16, 6/16, 6/16 in order of the vocabulary.
  EXPECT_EQ(draw_token(logits, 1.0, 1.0, 0.0), 0);
  EXPECT_EQ(draw_token(logits, 1.0, 1.0, 0.06), 0);
  EXPECT_EQ(draw_token(logits, 1.0, 1.0, 0.07), 1);
  EXPECT_EQ(draw_token(logits, 1.0, 1.0, 0.26), 2);
  EXPECT_EQ(draw_token(logits, 1.0, 1.0, 0.999999), 3);
  // Half the mass: tokens 2 and 3 alone.
  EXPECT_EQ(draw_token(logits, 1.0, 0.5, 0.0), 2);
  EXPECT_EQ(draw_token(logits, 1.0, 0.5, 0.51), 3);
  EXPECT_EQ(draw_token(logits, 1.0, 0.3, 0.99), 2);
  // Temperature 1/2 squares the odds: 1, 9, 36, 36 of 82.
  EXPECT_EQ(draw_token(logits, 0.5, 1.0, 9.9 / 82), 1);
  EXPECT_EQ(draw_token(logits, 0.5, 1.0, 10.1 / 82), 2);
  for (const float broken : {NAN, HUGE_VALF, -HUGE_VALF}) {
    EXPECT_THROW((void)draw_token(std::vector<float>{0.0F, broken}, 0.0, 1.0, 0.0), Error)
        << broken;
  }
}

TEST(Generate, SamplesAreAFunctionOfSeedAndIndexForAnyNumberOfRanks) {
  const Model model = toy_model(5);
  const Tokenizer tokenizer = toy_tokenizer();
  const SamplingConfig config{.temperature = 0.8, .top_p = 0.9, .max_tokens = 8, .seed = 4};
  const auto alone = make_single_process_communicator();
  const auto expected = sample_documents(model, tokenizer, 7, config, *alone);
  EXPECT_EQ(expected[6].id, "sample-6");
  EXPECT_NE(expected[0].text, expected[1].text);
  ThreadRanks(3).run([&](Communicator& comm) {
    const auto documents = sample_documents(model, tokenizer, 7, config, comm);
    for (std::size_t i = 0; i < documents.size(); ++i) {
      EXPECT_EQ(documents[i].text, expected[i].text);
    }
  });
  const Sample sample = generate(model, tokenizer, "ab", config, 0);
  EXPECT_EQ(sample.text.substr(0, 2), "ab");
  EXPECT_LE(sample.tokens.size(), 8U);
  EXPECT_THROW((void)generate(model, tokenizer, "abcdefghijklmnop", config, 0), Error);
}

TEST(Generate, ATokenizerOfALargerModelIsRefused) {
  ModelConfig config = toy_model(5).config;
  config.vocab_size = 50;
  const Model model = init_model(config, 5);
  // The prompt's own tokens would be inside the vocabulary.
  EXPECT_ERROR(generate(model, toy_tokenizer(), "!", SamplingConfig{.max_tokens = 2}, 0), kMismatch,
               "the model's vocabulary 50");
}

}  // namespace
}  // namespace growmerge::eval
