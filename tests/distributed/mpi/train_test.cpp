#include "distributed/train.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <filesystem>
#include <memory>

#include "core/base/error.h"
#include "distributed/signals.h"
#include "distributed/training_checkpoint.h"
#include "tests/distributed/mpi/world.h"
#include "tests/distributed/synthetic.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

using distributed::TrainConfig;
using distributed::TrainResult;
using testing::SyntheticSource;
using testing::tiny_model;
using testing::world;

/// A directory that all ranks know and rank 0 removes.
class SharedDirectory {
 public:
  SharedDirectory() {
    std::string name;
    if (world().is_root()) {
      own_ = std::make_unique<testing::TemporaryDirectory>();
      name = own_->path().string();
    }
    world().broadcast_bytes(name, 0);
    path_ = name;
  }
  ~SharedDirectory() { world().barrier(); }
  std::filesystem::path sub(const std::string& name) const {
    std::filesystem::create_directories(path_ / name);
    return path_ / name;
  }

 private:
  std::unique_ptr<testing::TemporaryDirectory> own_;
  std::filesystem::path path_;
};

TrainConfig small_config() {
  TrainConfig config;
  config.budget.steps = 50;
  config.batch_rows = 6;  // uneven over 4 ranks
  config.microbatch_rows = 2;
  config.schedule.lr = 3e-3;
  config.schedule.warmup_steps = 5;
  config.bucket_mb = 0.002;  // many buckets even here
  return config;
}

TrainResult run(const TrainConfig& config, Communicator& comm, const std::filesystem::path& dir,
                std::vector<StepObserver*> observers = {}, std::size_t late = 0) {
  SyntheticSource source({.seed = 3});
  SyntheticSource held_out({.seed = 4, .rows = 7});
  return distributed::train(config, tiny_model(), source, &held_out, comm, observers,
                            {.work_dir = dir, .start_identity = "tiny", .steps_read_late = late});
}

double relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0.0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(a[i] - b[i]) / std::abs(b[i]));
  }
  return worst;
}

class MpiTraining : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_GT(world().size(), 1) << "start it with mpirun -n 2";
    distributed::StopSignals::clear();
  }
};

void expect_same_losses_on_any_world(const std::string& dtype, double tolerance) {
  const SharedDirectory dir;
  TrainConfig config = small_config();
  config.dtype = dtype;
  config.save_dtype = dtype;
  const TrainResult all = run(config, world(), dir.sub("all"));
  const auto pair = world().split(world().rank() / 2, world().rank());
  const TrainResult two = run(config, *pair, dir.sub(concat("two", world().rank() / 2)));
  const auto single = make_single_process_communicator();
  const TrainResult one = run(config, *single, dir.sub(concat("one", world().rank())));
  ASSERT_EQ(one.losses.size(), 50U);
  EXPECT_LT(one.losses.back(), 0.9 * one.losses.front()) << "nothing was learnt";
  const double worst = std::max(relative_difference(all.losses, one.losses),
                                relative_difference(two.losses, one.losses));
  EXPECT_LE(worst, tolerance) << dtype;
  if (world().is_root()) {
    ::testing::Test::RecordProperty("worst_relative_difference", std::to_string(worst));
    std::printf("%s: worst relative difference over 50 steps on 1, 2 and %d ranks: %.2e\n",
                dtype.c_str(), world().size(), worst);
  }
  for (const auto& [name, loss] : one.held_out) {
    EXPECT_NEAR(all.held_out.at(name), loss, tolerance * loss) << name;
  }
}

TEST_F(MpiTraining, LossesAreTheSameOnAnyWorldInDouble) {
  expect_same_losses_on_any_world("float64", 1e-12);
}

TEST_F(MpiTraining, LossesAreTheSameOnAnyWorldInFloat) {
  expect_same_losses_on_any_world("float32", 1e-5);
}

TEST_F(MpiTraining, MoreRanksThanRowsWork) {
  const SharedDirectory dir;
  TrainConfig config = small_config();
  config.batch_rows = 1;
  config.budget.steps = 3;
  config.dtype = "float64";
  const TrainResult all = run(config, world(), dir.sub("all"));
  const auto single = make_single_process_communicator();
  const TrainResult one = run(config, *single, dir.sub(concat("one", world().rank())));
  EXPECT_LE(relative_difference(all.losses, one.losses), 1e-12);
}

/// Breaks one weight on the last rank alone, after step 2.
class Poison final : public StepObserver {
 public:
  bool wants(std::int64_t step) const override { return step == 2; }
  void after_step(const StepInfo& info, const ParamMap& params,
                  std::map<std::string, double>&) override {
    if (info.step == 2 && world().rank() == world().size() - 1) {
      at::Tensor weight = params.at("model.norm.weight");
      weight.fill_(std::nan(""));
    }
  }
};

void expect_a_nan_stops_all(std::size_t late, std::vector<StepObserver*> observers) {
  const SharedDirectory dir;
  TrainConfig config = small_config();
  config.checkpoint_every = 2;
  Poison poison;
  observers.push_back(&poison);
  try {
    static_cast<void>(run(config, world(), dir.sub("nan"), observers, late));
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCorrupt);
    const std::string text = e.what();
    EXPECT_NE(text.find("step 3, rows 12 to 17"), std::string::npos) << text;
    EXPECT_NE(text.find(concat("on rank ", world().size() - 1)), std::string::npos) << text;
  }
  world().barrier();
  const auto newest = distributed::newest_training_checkpoint(dir.sub("nan"));
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->filename(), "step-2");
}

TEST_F(MpiTraining, ANanOnOneRankStopsAllAndSavesNothing) { expect_a_nan_stops_all(0, {}); }

/// Wants a step that goes wrong, and nothing else.
class WantsThird final : public StepObserver {
 public:
  bool wants(std::int64_t step) const override { return step == 3; }
  void after_step(const StepInfo&, const ParamMap&, std::map<std::string, double>&) override {
    ADD_FAILURE() << "step 3 is not finite";
  }
};

// Ranks that read late must all read at the same place, or their messages cross.
TEST_F(MpiTraining, ANanThatIsReadLateStopsAllHoweverFewWantToReadNow) {
  expect_a_nan_stops_all(1, {});
  WantsThird third;
  if (world().is_root()) {
    expect_a_nan_stops_all(2, {&third});
  } else {
    expect_a_nan_stops_all(2, {});
  }
}

/// Asks this rank to stop after step 4, on the last rank alone.
class StopOnLast final : public StepObserver {
 public:
  void after_step(const StepInfo& info, const ParamMap&, std::map<std::string, double>&) override {
    if (info.step == 4 && world().rank() == world().size() - 1) {
      raise(SIGUSR1);
    }
  }
};

TEST_F(MpiTraining, ASignalToOneRankStopsAllAtOneStepAndResumesOnAnotherWorld) {
  const SharedDirectory dir;
  TrainConfig config = small_config();
  config.budget.steps = 12;
  config.dtype = "float64";
  config.save_dtype = "float64";
  const TrainResult whole = run(config, world(), dir.sub("whole"));
  StopOnLast stop;
  try {
    static_cast<void>(run(config, world(), dir.sub("stopped"), {&stop}));
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInterrupted);
    EXPECT_NE(std::string(e.what()).find("SIGUSR1: stopped after step 5 of 12"), std::string::npos)
        << e.what();
  }
  distributed::StopSignals::clear();
  // One process alone goes on where all of them stopped.
  if (world().is_root()) {
    const auto single = make_single_process_communicator();
    const TrainResult rest = run(config, *single, dir.sub("stopped"));
    EXPECT_EQ(rest.resumed_from, 5);
    const std::vector<double> tail(whole.losses.begin() + 5, whole.losses.end());
    EXPECT_LE(relative_difference(rest.losses, tail), 1e-12);
  }
  world().barrier();
}

}  // namespace
}  // namespace growmerge
