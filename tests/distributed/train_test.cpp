#include "distributed/train.h"
#include "core/base/files.h"
#include "core/store/hashes.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/flops.h"
#include "distributed/signals.h"
#include "distributed/training_checkpoint.h"
#include "tests/distributed/train_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::distributed {
namespace {

TEST(Train, AccumulationChangesRoundingAlone) {
  std::vector<std::vector<double>> losses;
  for (const std::int64_t micro : {0, 1, 3}) {
    const testing::TemporaryDirectory dir;
    Setting setting;
    setting.config.dtype = "float64";
    setting.config.microbatch_rows = micro;
    losses.push_back(run(dir.path(), setting).losses);
  }
  for (std::size_t i = 0; i < losses[0].size(); ++i) {
    EXPECT_NEAR(losses[1][i], losses[0][i], 1e-12);
    EXPECT_NEAR(losses[2][i], losses[0][i], 1e-12);
  }
}

TEST(Train, ResumesToTheSameBits) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    for (const char* save_dtype : {"float32", "bfloat16"}) {
      const testing::TemporaryDirectory whole;
      const testing::TemporaryDirectory parts;
      Setting setting;
      setting.config.dtype = dtype;
      setting.config.save_dtype = save_dtype;
      setting.config.checkpoint_every = 3;
      setting.config.log_every = 2;  // step 3 stands inside a window
      run(whole.path(), setting);
      run_and_crash(parts.path(), setting, 5);
      const TrainResult rest = run(parts.path(), setting);
      EXPECT_EQ(rest.resumed_from, 3);
      EXPECT_EQ(rest.steps, 8);
      for (const char* file : {"model.safetensors", "trainer/moments.safetensors"}) {
        EXPECT_TRUE(same_bits(whole.path() / file, parts.path() / file)) << dtype << " " << file;
      }
    }
  }
}

std::vector<nlohmann::json> metrics_of(const fs::path& dir) {
  std::ifstream file(dir / "metrics.jsonl");
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(nlohmann::json::parse(line));
  }
  return lines;
}

class CountCalls final : public StepObserver {
 public:
  void after_step(const StepInfo& info, const ParamMap& params,
                  std::map<std::string, double>& metrics) override {
    EXPECT_EQ(params.begin()->second.scalar_type(), at::kFloat);
    metrics["asymmetry"] = static_cast<double>(info.step);
  }
};

TEST(Train, MetricsSayWhatHappened) {
  const testing::TemporaryDirectory dir;
  CountCalls observer;
  Setting setting;
  setting.config.eval_every = 4;
  setting.config.peak_tflops = 1e-3;
  setting.observers = {&observer};
  const TrainResult result = run(dir.path(), setting);
  std::size_t steps = 0;
  std::vector<std::int64_t> evaluated;
  for (const auto& line : metrics_of(dir.path())) {
    if (line.contains("held_out_loss")) {
      evaluated.push_back(line["step"]);
      EXPECT_TRUE(line.contains("held_out_loss/one") && line.contains("held_out_loss/two"));
      continue;
    }
    const std::int64_t step = line["step"];
    EXPECT_EQ(step, static_cast<std::int64_t>(steps) + 1);
    EXPECT_EQ(line["loss"].get<double>(), result.losses[steps++]);
    EXPECT_EQ(line["asymmetry"].get<double>(), static_cast<double>(step));
    EXPECT_EQ(line["tokens"].get<double>(), static_cast<double>(step * 4 * 12));
    EXPECT_GT(line["grad_norm"].get<double>(), 0.0);
    EXPECT_GT(line["mfu"].get<double>(), 0.0);
    EXPECT_GT(line["tokens_per_s"].get<double>(), 0.0);
    const double flops =
        train_flops_per_token(testing::tiny_config(), 12, FlopConvention::kCausal) *
        static_cast<double>(step * 4 * 12);
    EXPECT_NEAR(line["flops"].get<double>(), flops, 1e-9 * flops);
  }
  EXPECT_EQ(steps, 8U);
  EXPECT_EQ(evaluated, (std::vector<std::int64_t>{0, 4, 8}));
  EXPECT_EQ(result.held_out.at("held_out_loss"),
            metrics_of(dir.path()).back()["held_out_loss"].get<double>());
}

std::vector<nlohmann::json> without_times(std::vector<nlohmann::json> lines) {
  for (auto& line : lines) {
    line.erase("tokens_per_s");
    line.erase("mfu");
  }
  return lines;
}

TEST(Train, NumbersThatAreReadLateAreTheSame) {
  std::vector<std::vector<nlohmann::json>> metrics;
  std::vector<std::string> models;
  for (const std::size_t late : {0, 1, 3}) {
    const testing::TemporaryDirectory dir;
    Setting setting;
    setting.config.eval_every = 3;
    setting.config.checkpoint_every = 4;
    setting.config.log_every = 2;
    setting.late = late;
    EXPECT_EQ(run(dir.path(), setting).losses.size(), 8U);
    metrics.push_back(without_times(metrics_of(dir.path())));
    models.push_back(hash_file(dir.path() / "model.safetensors") +
                     hash_file(dir.path() / "trainer/moments.safetensors"));
  }
  EXPECT_EQ(metrics[0].size(), 8U) << "4 of steps, 4 of evaluations";
  for (const std::size_t i : {1U, 2U}) {
    EXPECT_EQ(metrics[i], metrics[0]);
    EXPECT_EQ(models[i], models[0]);
  }
}

/// Keeps the masters after every third step.
class EveryThird final : public StepObserver {
 public:
  bool wants(std::int64_t step) const override { return step % 3 == 0; }
  void after_step(const StepInfo& info, const ParamMap& params,
                  std::map<std::string, double>&) override {
    seen[info.step] = params.begin()->second.clone();
  }
  std::map<std::int64_t, at::Tensor> seen;
};

TEST(Train, ObserversSeeTheirStepHoweverLateNumbersAreRead) {
  EveryThird early;
  EveryThird late;
  for (EveryThird* observer : {&early, &late}) {
    const testing::TemporaryDirectory dir;
    Setting setting;
    setting.observers = {observer};
    setting.late = observer == &late ? 2 : 0;
    run(dir.path(), setting);
  }
  ASSERT_EQ(early.seen.size(), 2U);
  ASSERT_EQ(late.seen.size(), 2U);
  for (const auto& [step, params] : early.seen) {
    EXPECT_TRUE(late.seen.at(step).equal(params)) << step;
  }
  EXPECT_FALSE(early.seen.at(3).equal(early.seen.at(6)));
}

TEST(Train, AStepThatIsNotFiniteChangesNothingAndIsNamedWhenItIsRead) {
  for (const std::size_t late : {0, 1, 2}) {
    const testing::TemporaryDirectory dir;
    Setting setting;
    setting.config.schedule.lr = 1e30;  // step 1 is finite, what it leaves behind is not
    setting.config.schedule.warmup_steps = 0;
    setting.config.clip_norm = 0.0;
    setting.config.checkpoint_every = 1;
    setting.late = late;
    const std::string error =
        testing::error_of(ErrorCode::kCorrupt, [&] { run(dir.path(), setting); });
    EXPECT_NE(error.find("step 2, rows 4 to 7: loss"), std::string::npos) << error;
    EXPECT_TRUE(fs::exists(dir.path() / "step-1/model.safetensors"));
    EXPECT_FALSE(fs::exists(dir.path() / "step-2")) << "late by " << late;
  }
}

TEST(Train, RowsWhoseLossIsNotFiniteAreNamed) {
  for (const std::size_t late : {0, 2}) {
    const testing::TemporaryDirectory dir;
    const auto comm = make_single_process_communicator();
    SyntheticSource source({.seed = 3});
    TrainConfig config = small_config();
    config.microbatch_rows = 3;
    Model model = tiny_model();
    model.params.at("model.norm.weight").fill_(std::nan(""));
    const std::string error = testing::error_of(ErrorCode::kCorrupt, [&] {
      return train(config, model, source, nullptr, *comm, {},
                   {.work_dir = dir.path(), .steps_read_late = late});
    });
    EXPECT_NE(error.find("step 1, rows 0 to 3: loss"), std::string::npos) << error;
    EXPECT_NE(error.find("not finite in rows 0, 1, 2, 3 on rank 0"), std::string::npos) << error;
  }
}

TEST(Train, AnotherRunIsRefused) {
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.checkpoint_every = 2;
  run_and_crash(dir.path(), setting, 3);
  Setting other = setting;
  other.seed = 99;
  std::string text = testing::error_of(ErrorCode::kMismatch, [&] { run(dir.path(), other); });
  EXPECT_NE(text.find("another stream of training data (then synthetic-3, now synthetic-99)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("to start afresh"), std::string::npos);
  other = setting;
  other.config.schedule.lr = 1.0;
  text = testing::error_of(ErrorCode::kMismatch, [&] { run(dir.path(), other); });
  EXPECT_NE(text.find("another config"), std::string::npos) << text;
  EXPECT_NE(text.find("lr: 0.003"), std::string::npos) << text;
  other = setting;
  other.start = "other";
  text = testing::error_of(ErrorCode::kMismatch, [&] { run(dir.path(), other); });
  EXPECT_NE(text.find("another starting model"), std::string::npos) << text;
  // What does not change the steps may change.
  setting.config.log_every = 3;
  setting.config.keep_last = 1;
  setting.config.microbatch_rows = 2;
  setting.config.profile = {.from_step = 4, .steps = 1};
  EXPECT_EQ(run(dir.path(), setting).resumed_from, 2);
}

/// Asks for a stop after a step.
class Stop final : public StepObserver {
 public:
  explicit Stop(std::int64_t step) : step_(step) {}
  void after_step(const StepInfo& info, const ParamMap&, std::map<std::string, double>&) override {
    if (info.step == step_) {
      raise(SIGUSR1);
    }
  }

 private:
  std::int64_t step_;
};

TEST(Train, ASignalInTheLastStepStillMeasuresTheLastLoss) {
  const testing::TemporaryDirectory whole;
  const testing::TemporaryDirectory signalled;
  Setting setting;
  const TrainResult expected = run(whole.path(), setting);
  Stop stop(7);  // seen by the reduction of step 8, which is the last one
  setting.observers = {&stop};
  const TrainResult result = run(signalled.path(), setting);
  StopSignals::clear();
  EXPECT_EQ(result.steps, 8);
  EXPECT_EQ(result.held_out, expected.held_out);
}

TEST(Train, AStepIsEvaluatedOnceInTheMetricsHoweverOftenItIsResumed) {
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.eval_every = 3;
  Stop stop(2);  // the checkpoint of step 3 comes before its evaluation
  setting.observers = {&stop};
  testing::error_of(ErrorCode::kInterrupted, [&] { run(dir.path(), setting); });
  StopSignals::clear();
  setting.observers = {};
  run_and_crash(dir.path(), setting, 5);
  EXPECT_EQ(run(dir.path(), setting).resumed_from, 3);
  std::map<std::int64_t, int> losses;
  std::map<std::int64_t, int> evaluations;
  for (const auto& line : metrics_of(dir.path())) {
    ++(line.contains("held_out_loss") ? evaluations : losses)[line["step"].get<std::int64_t>()];
  }
  EXPECT_EQ(evaluations, (std::map<std::int64_t, int>{{0, 1}, {3, 1}, {6, 1}, {8, 1}}));
  EXPECT_EQ(losses.size(), 8U);
  EXPECT_EQ(losses[3], 1);
}

TEST(Train, AFinishedRunIsNotRepeated) {
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.save_trainer_state = false;
  const TrainResult first = run(dir.path(), setting);
  EXPECT_FALSE(fs::exists(dir.path() / "step-8"));
  EXPECT_FALSE(fs::exists(dir.path() / "trainer/moments.safetensors"));
  EXPECT_TRUE(fs::exists(dir.path() / "config.json"));
  const TrainResult again = run(dir.path(), setting);
  EXPECT_TRUE(again.losses.empty());
  EXPECT_EQ(again.steps, 8);
  EXPECT_EQ(again.held_out, first.held_out);
}

TEST(Train, AProfileSaysWhereStepsWentAndChangesNothing) {
  const testing::TemporaryDirectory plain;
  const testing::TemporaryDirectory profiled;
  Setting setting;
  const TrainResult expected = run(plain.path(), setting);
  setting.config.profile = {.from_step = 3, .steps = 2};
  EXPECT_EQ(run(profiled.path(), setting).losses, expected.losses);
  const std::string text = read_file(profiled.path() / "profile.md");
  for (const char* part : {"2 training steps went, from step 3", "| head: linear_forward |",
                           "| mlp backward: linear_backward_weight |", "| step: adamw | 2 |"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  const auto trace = nlohmann::json::parse(read_file(profiled.path() / "trace.json"));
  EXPECT_GT(trace["traceEvents"].size(), 50U);
  setting.config.profile = {.from_step = 8, .steps = 2};
  const testing::TemporaryDirectory beyond;
  const std::string error =
      testing::error_of(ErrorCode::kInvalidArgument, [&] { run(beyond.path(), setting); });
  EXPECT_NE(error.find("profile: steps 8 to 9, training has 8"), std::string::npos) << error;
}

TEST(Train, BadInputIsRefusedBeforeWork) {
  const testing::TemporaryDirectory dir;
  const auto comm = make_single_process_communicator();
  TrainConfig config = small_config();
  config.budget.tokens = 5;
  EXPECT_NE(testing::error_of(ErrorCode::kInvalidArgument, [&] { config.validate(); })
                .find("exactly one of steps, tokens and flops, got 2"),
            std::string::npos);
  config = small_config();
  config.dtype = "float16";
  EXPECT_NE(
      testing::error_of(ErrorCode::kInvalidArgument, [&] { config.validate(); }).find("bfloat16"),
      std::string::npos);
  config = small_config();
  config.device = "gpu";
  EXPECT_ERROR(config.validate(), kInvalidArgument, "expected auto, cpu or cuda, got 'gpu'");
  config = small_config();
  config.optimizer.beta1 = 1.0;
  EXPECT_ERROR(config.validate(), kInvalidArgument, "beta1 must be in [0, 1), got 1");
  config = small_config();
  SyntheticSource long_rows({.seed = 1, .row_tokens = 65});
  SyntheticSource fitting({.seed = 1});
  EXPECT_ERROR(train(config, tiny_model(), long_rows, nullptr, *comm, {}, {.work_dir = dir.path()}),
               kInvalidArgument, "rows of 65 tokens, the model has positions for 64");
  SyntheticSource long_held_out({.seed = 1, .rows = 2, .row_tokens = 65});
  EXPECT_ERROR(
      train(config, tiny_model(), fitting, &long_held_out, *comm, {}, {.work_dir = dir.path()}),
      kInvalidArgument, "held-out data: rows of 65 tokens");
  SyntheticSource few({.seed = 1, .rows = 31});
  std::string text = testing::error_of(ErrorCode::kInvalidArgument, [&] {
    static_cast<void>(
        train(config, tiny_model(), few, nullptr, *comm, {}, {.work_dir = dir.path()}));
  });
  EXPECT_NE(text.find("need 32 rows, the stream has 31"), std::string::npos) << text;
  SyntheticSource wide({.seed = 1, .vocab_size = 49});
  text = testing::error_of(ErrorCode::kMismatch, [&] {
    static_cast<void>(
        train(config, tiny_model(), wide, nullptr, *comm, {}, {.work_dir = dir.path()}));
  });
  EXPECT_NE(text.find("a vocabulary of 49, the model has 48"), std::string::npos) << text;
}

TEST(Train, BudgetsAreRoundedToWholeSteps) {
  TrainConfig config = small_config();
  config.budget = {};
  config.budget.tokens = 1000;
  TrainPlan plan = plan_training(config, testing::tiny_config(), 12);
  EXPECT_EQ(plan.tokens_per_step, 48);
  EXPECT_EQ(plan.steps, 21);
  EXPECT_NEAR(plan.mismatch, 21 * 48 / 1000.0 - 1.0, 1e-12);
  config.budget = {};
  config.budget.flops = 10.4 * plan.flops_per_step;
  plan = plan_training(config, testing::tiny_config(), 12);
  EXPECT_EQ(plan.steps, 10);
  EXPECT_NEAR(plan.mismatch, 10 / 10.4 - 1.0, 1e-12);
}

TEST(Train, GoldenLosses) {
  // Regenerate only for a change that means to change the numbers, and say why in the commit.
  std::ifstream file(testing::source_dir() / "tests/distributed/golden_losses.txt");
  ASSERT_TRUE(file.good());
  const testing::TemporaryDirectory dir;
  Setting setting;
  setting.config.dtype = "float64";
  setting.config.budget.steps = 20;
  const std::vector<double> losses = run(dir.path(), setting).losses;
  std::size_t i = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') {
      continue;
    }
    ASSERT_LT(i, losses.size());
    EXPECT_NEAR(losses[i], std::stod(line), 1e-10) << "step " << i + 1;
    ++i;
  }
  EXPECT_EQ(i, losses.size());
}

}  // namespace
}  // namespace growmerge::distributed
