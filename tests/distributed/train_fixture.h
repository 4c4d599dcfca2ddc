// What the tests of training share: a run of eight steps, and a crash in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/hashes.h"
#include "distributed/train.h"
#include "tests/distributed/synthetic.h"
#include "tests/support/expect_error.h"

namespace growmerge::distributed {

namespace fs = std::filesystem;
using testing::SyntheticSource;
using testing::tiny_model;

inline TrainConfig small_config() {
  TrainConfig config;
  config.budget.steps = 8;
  config.batch_rows = 4;
  config.schedule.lr = 3e-3;
  config.schedule.warmup_steps = 2;
  return config;
}

struct Setting {
  TrainConfig config = small_config();
  std::uint64_t seed = 3;
  std::string start = "tiny";
  std::vector<StepObserver*> observers;
  std::optional<std::size_t> late;
  std::function<double()> clock = [] { return 0.0; };
};

inline TrainResult run(const fs::path& dir, const Setting& setting) {
  configure_log({.level = LogLevel::kError});
  SyntheticSource source({.seed = setting.seed});
  SyntheticSource held_out({.seed = 4, .rows = 5});
  const auto comm = make_single_process_communicator();
  return train(setting.config, tiny_model(), source, &held_out, *comm, setting.observers,
               {.work_dir = dir,
                .start_identity = setting.start,
                .clock = setting.clock,
                .steps_read_late = setting.late});
}

/// What SIGKILL would leave: throws out of the loop after a step.
class Crash final : public StepObserver {
 public:
  explicit Crash(std::int64_t step) : step_(step) {}
  void after_step(const StepInfo& info, const ParamMap&, std::map<std::string, double>&) override {
    GM_CHECK(info.step != step_, kInternal, "crash");
  }

 private:
  std::int64_t step_;
};

/// A run that is killed after a step.
inline void run_and_crash(const fs::path& dir, Setting setting, std::int64_t step) {
  Crash crash(step);
  setting.observers.push_back(&crash);
  testing::error_of(ErrorCode::kInternal, [&] { run(dir, setting); });
}

inline bool same_bits(const fs::path& a, const fs::path& b) { return hash_file(a) == hash_file(b); }

}  // namespace growmerge::distributed
