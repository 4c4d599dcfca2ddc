// What is said of a run: the numbers of each step are read (on CUDA a step late), checked, kept as
// mean losses since the last line of metrics, and written; observers add theirs.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/contracts/parameter_store.h"
#include "distributed/metrics_log.h"
#include "distributed/train_job.h"
#include "distributed/train_step.h"
#include "distributed/training_checkpoint.h"

namespace growmerge::distributed {

class TrainReport {
 public:
  using Clock = std::chrono::steady_clock;

  /// Both outlive it.
  TrainReport(const TrainJob& job, ParameterStore& store);

  /// Opens the record behind state.step, and goes on with the window of a resumed run. Rank 0 alone
  /// writes. `measured_again`: the held-out loss of that very step. Errors: kIo, kCorrupt.
  void open(const TrainingState& state, bool measured_again);
  void close() { metrics_.reset(); }

  void add(TakenStep taken) { taken_.push_back(std::move(taken)); }
  /// Reads, checks and logs the oldest steps until `left` are unread. Collective. Errors: kCorrupt
  /// for one that is not finite, on all ranks alike; kDistributed.
  void read(std::size_t left);
  /// Writes state.held_out, which was measured at state.step.
  void held_out(const TrainingState& state);

  /// Mean NLL per target of the steps that were read, in order.
  [[nodiscard]] const std::vector<double>& losses() const { return losses_; }
  /// What the next line of metrics will hold of steps that were read, for a checkpoint.
  [[nodiscard]] std::map<std::string, double> window() const;

  /// Time of training stands still while it lives, for what is no training.
  class Pause {
   public:
    explicit Pause(TrainReport& report) : report_(report) {}
    ~Pause() { report_.window_start_ += Clock::now() - begin_; }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    TrainReport& report_;
    Clock::time_point begin_ = Clock::now();
  };

 private:
  /// Of the targets of one source since the last line.
  struct Sum {
    double loss = 0.0;  // NLL, nats
    double targets = 0.0;
  };
  void log(const TakenStep& taken, double loss);
  void observe(const StepInfo& info, bool is_observed, std::map<std::string, double>& metrics);
  void end_window(const TakenStep& taken, std::map<std::string, double>& metrics);
  void write(const StepInfo& info, std::map<std::string, double> metrics);

  const TrainJob& job_;
  ParameterStore& store_;
  double peak_tflops_;
  std::unique_ptr<MetricsLog> metrics_;  // rank 0 alone
  std::deque<TakenStep> taken_;          // unread ones, oldest first
  std::vector<double> losses_;
  std::vector<Sum> window_;  // per source
  std::int64_t window_steps_ = 0;
  Clock::time_point window_start_ = Clock::now();
};

}  // namespace growmerge::distributed
