#include "distributed/train.h"

#include <c10/util/Exception.h>

#include <chrono>
#include <memory>
#include <utility>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/store/safetensors.h"
#include "distributed/held_out.h"
#include "distributed/resume.h"
#include "distributed/sharding/whole_model.h"
#include "distributed/signals.h"
#include "distributed/step_profile.h"
#include "distributed/train_report.h"
#include "distributed/train_step.h"
#include "distributed/training_checkpoint.h"

namespace growmerge::distributed {
namespace {

/// A run from its first step here to its last: when to step, evaluate and save.
class Trainer {
 public:
  /// `params` are rank 0's; `job` is planned and outlives the trainer. Collective.
  Trainer(const TrainJob& job, const ParamMap& params)
      : job_(job),
        training_(start_training(job, params)),
        state_(first_state(job)),
        report_(job, *training_.store),
        late_(job.run.steps_read_late.value_or(job.run.device.is_cpu() ? 0 : 1)) {}

  TrainResult run() {
    newest_ = resume(job_, training_, state_);
    const std::int64_t resumed_from = state_.step;
    if (!is_finished(state_)) {
      open_records();
      if (eval_due(state_.step)) {
        evaluate();
      }
      loop();
    }
    finish();
    return {.steps = state_.step,
            .tokens = state_.tokens,
            .flops = state_.flops,
            .budget_mismatch = job_.plan.mismatch,
            .resumed_from = resumed_from,
            .losses = report_.losses(),
            .held_out = state_.held_out};
  }

 private:
  void open_records() {
    run_agreed(job_.comm, [&] {
      // The checkpoint may be older than a held-out loss of its own step, which is then measured
      // again.
      report_.open(state_, eval_due(state_.step));
      if (job_.comm.is_root() && job_.config.profile.from_step > 0) {
        profile_ =
            std::make_unique<StepProfile>(job_.config.profile, job_.config, job_.run.work_dir);
      }
    });
  }

  bool eval_due(std::int64_t step) const {
    return job_.held_out != nullptr && state_.last_eval_step != step &&
           (step == 0 || step == job_.plan.steps ||
            (job_.config.eval_every > 0 && step % job_.config.eval_every == 0));
  }

  bool checkpoint_due() const {
    const std::int64_t every = job_.config.checkpoint_every;
    return state_.step == job_.plan.steps || (every > 0 && state_.step % every == 0);
  }

  /// By rank 0's clock, which decides for all.
  bool checkpoint_is_old() const {
    const double minutes = job_.config.checkpoint_minutes;
    return job_.comm.is_root() && minutes > 0.0 && job_.run.clock() - saved_at_ >= 60.0 * minutes;
  }

  void loop() {
    saved_at_ = job_.run.clock();
    Progress progress("training", job_.plan.steps, "steps", job_.comm.is_root());
    progress.update(state_.step);
    while (!is_finished(state_)) {
      if (profile_ != nullptr) {
        profile_->before(state_.step + 1);
      }
      TakenStep taken = take_step(job_, training_, state_, checkpoint_is_old());
      const int signal = taken.stop_signal;
      // A signal wants a checkpoint soon; but what is published says its own last loss.
      const bool evaluates = (signal == 0 || is_finished(state_)) && eval_due(state_.step);
      const bool saves = signal != 0 || taken.saves || checkpoint_due();
      // The same on all ranks, because a step that failed makes them talk to each other.
      const bool reads_now = evaluates || saves || taken.is_observed;
      report_.add(std::move(taken));
      report_.read(reads_now ? 0 : late_);
      if (profile_ != nullptr) {
        profile_->after(state_.step);
      }
      progress.update(state_.step, report_.losses().empty()
                                       ? std::string()
                                       : concat("loss ", report_.losses().back()));
      if (evaluates) {
        evaluate();
      }
      if (saves) {
        save();
      }
      if (signal != 0 && !is_finished(state_)) {
        fail(ErrorCode::kInterrupted, stop_signal_name(signal), ": stopped after step ",
             state_.step, " of ", job_.plan.steps, "; ", newest_,
             " is written, the same command goes on from it");
      }
    }
    progress.finish();
  }

  void evaluate() {
    const TrainReport::Pause pause(report_);
    const WholeModel whole(*training_.store);
    state_.held_out = held_out_loss(
        job_.model, whole.params(), *job_.held_out,
        {.rows = job_.config.eval_rows, .microbatch_rows = job_.config.microbatch_rows}, job_.comm,
        &training_.workspace);
    state_.last_eval_step = state_.step;
    report_.held_out(state_);
    log_info(concat("step ", state_.step, ": held-out loss ", state_.held_out.at("held_out_loss"),
                    " nats per token"));
  }

  void save() {
    const TrainReport::Pause pause(report_);
    state_.window = report_.window();
    run_agreed(job_.comm, [&] {
      if (job_.comm.is_root()) {
        job_.run.check_inputs();
      }
    });
    newest_ =
        save_training_checkpoint(job_.run.work_dir, state_,
                                 {job_.model, *training_.store, training_.optimizer, job_.comm},
                                 {.dtype = parse_dtype(job_.config.save_dtype, "save_dtype"),
                                  .companions_from = job_.run.companions_from},
                                 policy())
            .string();
    saved_at_ = job_.run.clock();
  }

  void finish() {
    report_.close();
    run_agreed(job_.comm, [&] {
      if (job_.comm.is_root()) {
        publish_checkpoint(job_.run.work_dir, newest_,
                           {.keep_moments = job_.config.save_trainer_state,
                            .keep_steps = job_.config.keep_checkpoints},
                           policy());
      }
    });
  }

  KeptCheckpoints policy() const {
    return {.every = job_.config.checkpoint_every, .last = job_.config.keep_last};
  }

  const TrainJob& job_;
  Training training_;
  TrainingState state_;
  TrainReport report_;
  std::unique_ptr<StepProfile> profile_;  // rank 0 alone, where one is asked for
  std::string newest_;                    // checkpoint
  double saved_at_ = 0.0;                 // by rank 0's clock
  const std::size_t late_;                // steps that may be left unread
};

TrainResult run_job(TrainJob job, ParamMap params) {
  const auto start = std::chrono::steady_clock::now();
  plan_job(job);
  job.comm.set_timeout(job.config.timeout_s);
  if (job.plan.mismatch != 0.0 && job.comm.is_root()) {
    log_info(concat("budget: ", job.plan.steps, " whole steps, ", 100.0 * job.plan.mismatch,
                    " % beside what was asked for"));
  }
  Trainer trainer(job, params);
  params = {};  // the store has its own
  TrainResult result = trainer.run();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace

TrainResult train(const TrainConfig& config, Model model, BatchSource& source,
                  BatchSource* held_out, Communicator& comm,
                  std::span<StepObserver* const> observers, const TrainRun& run) {
  const StopSignals signals;
  try {
    return run_job({config, model.config, source, held_out, comm, observers, run},
                   std::move(model.params));
  } catch (const c10::OutOfMemoryError& e) {
    fail(ErrorCode::kInvalidArgument, "rank ", comm.rank(), ": ", e.what_without_backtrace(),
         "; lower microbatch_rows or row_tokens, or take a smaller model");
  }
}

}  // namespace growmerge::distributed
