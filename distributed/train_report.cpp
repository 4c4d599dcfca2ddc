#include "distributed/train_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "core/base/profile.h"
#include "distributed/device.h"
#include "distributed/held_out.h"
#include "distributed/sharding/whole_model.h"

namespace growmerge::distributed {
namespace {

/// "; not finite in rows R, R on rank N" for the ranks that have such rows.
std::string bad_rows_of_ranks(const TrainJob& job, const TakenStep& taken) {
  const RowRange mine = rows_of_rank(job.config.batch_rows, job.comm.rank(), job.comm.size());
  std::string bad_rows;
  std::int64_t row = taken.first_row + mine.begin;
  for (const double loss : taken.numbers.row_losses()) {
    if (!std::isfinite(loss)) {
      bad_rows += concat(bad_rows.empty() ? "" : ", ", row);
    }
    ++row;
  }
  std::string where;
  const auto all = job.comm.all_gather_bytes(bad_rows);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank].empty()) {
      where += concat("; not finite in rows ", all[rank], " on rank ", rank);
    }
  }
  return where;
}

/// The sums are over ranks, equal on all of them, so all ranks throw or none does.
void check_finite(const TrainJob& job, const TakenStep& taken, double loss_sum, double targets) {
  const double norm = taken.numbers.norm();
  if (std::isfinite(loss_sum) && std::isfinite(norm) && targets > 0.0) {
    return;
  }
  const std::string step = concat("step ", taken.step, ", rows ", taken.first_row, " to ",
                                  taken.first_row + job.config.batch_rows - 1);
  GM_CHECK(targets > 0.0, kCorrupt, step, ": no row holds a target to predict");
  fail(ErrorCode::kCorrupt, step, ": loss ", loss_sum / targets, ", gradient norm ", norm,
       bad_rows_of_ranks(job, taken),
       "; nothing was saved over: lower the learning rate, or look at these rows, and run again "
       "from the last checkpoint");
}

/// 0 where none is known: no MFU is better than one against a guessed peak.
double peak_tflops(const TrainJob& job) {
  return job.config.peak_tflops > 0.0     ? job.config.peak_tflops
         : job.config.dtype == "bfloat16" ? peak_bfloat16_tflops(job.run.device_name)
                                          : 0.0;
}

}  // namespace

TrainReport::TrainReport(const TrainJob& job, ParameterStore& store)
    : job_(job),
      store_(store),
      peak_tflops_(peak_tflops(job)),
      window_(job.source.source_names().size()) {}

void TrainReport::open(const TrainingState& state, bool measured_again) {
  const auto& names = job_.source.source_names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto loss = state.window.find("loss/" + names[i]);
    const auto targets = state.window.find("targets/" + names[i]);
    if (loss != state.window.end() && targets != state.window.end()) {
      window_[i] = {.loss = loss->second, .targets = targets->second};
    }
  }
  if (job_.comm.is_root()) {
    metrics_ = std::make_unique<MetricsLog>(job_.run.work_dir, state.step,
                                            measured_again ? "held_out_loss" : "");
  }
  window_start_ = Clock::now();
}

std::map<std::string, double> TrainReport::window() const {
  std::map<std::string, double> out;
  const auto& names = job_.source.source_names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    out["loss/" + names[i]] = window_[i].loss;
    out["targets/" + names[i]] = window_[i].targets;
  }
  return out;
}

void TrainReport::read(std::size_t left) {
  while (taken_.size() > left) {
    TakenStep taken = std::move(taken_.front());
    taken_.pop_front();
    // On the CPU they are there; on CUDA a step makes the host wait here alone.
    taken.numbers.wait(job_.comm, job_.config.timeout_s);
    double loss_sum = 0.0;
    double targets = 0.0;
    for (std::size_t i = 0; i < taken.targets.size(); ++i) {
      loss_sum += taken.numbers.loss(i);
      targets += taken.targets[i];
    }
    // Before anything is logged, evaluated or saved.
    check_finite(job_, taken, loss_sum, targets);
    for (std::size_t i = 0; i < taken.targets.size(); ++i) {
      window_[i].loss += taken.numbers.loss(i);
      window_[i].targets += taken.targets[i];
    }
    losses_.push_back(loss_sum / targets);
    log(taken, losses_.back());
  }
}

void TrainReport::log(const TakenStep& taken, double loss) {
  const profile::Scope scope("metrics");
  std::map<std::string, double> metrics;
  const StepInfo info{.step = taken.step,
                      .tokens = taken.tokens,
                      .flops = job_.plan.flops_per_step * static_cast<double>(taken.step),
                      .loss = loss};
  observe(info, taken.is_observed, metrics);
  ++window_steps_;
  if (info.step % job_.config.log_every == 0 || info.step == job_.plan.steps) {
    end_window(taken, metrics);
  }
  // Observers may have something to say between two lines of metrics.
  if (!metrics.empty()) {
    write(info, std::move(metrics));
  }
}

void TrainReport::observe(const StepInfo& info, bool is_observed,
                          std::map<std::string, double>& metrics) {
  if (!is_observed) {
    return;
  }
  const auto wants = [&](const StepObserver* observer) { return observer->wants(info.step); };
  const bool here = std::any_of(job_.observers.begin(), job_.observers.end(), wants);
  // Ranks whose observers want nothing take part all the same: gathering is collective.
  ParamMap masters;
  store_.visit_logical(store_.owned().params, here ? collect_into(masters) : LogicalVisitor());
  for (StepObserver* observer : job_.observers) {
    if (wants(observer)) {
      observer->after_step(info, masters, metrics);
    }
  }
}

/// Adds the means since the last line, over all and per source, and begins anew.
void TrainReport::end_window(const TakenStep& taken, std::map<std::string, double>& metrics) {
  Sum total;
  const auto& names = job_.source.source_names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (window_[i].targets > 0.0) {
      // By targets, so a window's mean does not depend on how rows fell into steps.
      metrics["loss/" + names[i]] = window_[i].loss / window_[i].targets;
    }
    total.loss += window_[i].loss;
    total.targets += window_[i].targets;
  }
  metrics["loss"] = total.loss / total.targets;
  metrics["lr"] = taken.lr;
  metrics["grad_norm"] = taken.numbers.norm();
  const double seconds = std::chrono::duration<double>(Clock::now() - window_start_).count();
  const auto steps = static_cast<double>(window_steps_);
  metrics["tokens_per_s"] =
      static_cast<double>(window_steps_ * job_.plan.tokens_per_step) / seconds;
  if (peak_tflops_ > 0.0) {
    metrics["mfu"] =
        steps * job_.plan.flops_per_step / seconds / (peak_tflops_ * 1e12 * job_.comm.size());
  }
  std::fill(window_.begin(), window_.end(), Sum{});
  window_steps_ = 0;
  window_start_ = Clock::now();
}

void TrainReport::held_out(const TrainingState& state) {
  write({.step = state.step, .tokens = state.tokens, .flops = state.flops}, state.held_out);
}

void TrainReport::write(const StepInfo& info, std::map<std::string, double> metrics) {
  if (metrics_ == nullptr) {
    return;
  }
  metrics["tokens"] = static_cast<double>(info.tokens);
  metrics["flops"] = info.flops;
  metrics["tokens_total"] = static_cast<double>(info.tokens + job_.run.tokens_before);
  metrics["flops_total"] = info.flops + job_.run.flops_before;
  metrics_->write(info.step, metrics);
}

}  // namespace growmerge::distributed
