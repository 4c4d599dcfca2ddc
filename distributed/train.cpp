#include "distributed/train.h"

#include <ATen/ops/zeros.h>

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <sstream>

#include "core/adamw.h"
#include "core/error.h"
#include "core/log.h"
#include "core/lr_schedule.h"
#include "core/manifest.h"
#include "core/profile.h"
#include "core/progress.h"
#include "core/safetensors.h"
#include "core/transformer.h"
#include "distributed/gradient_buckets.h"
#include "distributed/held_out.h"
#include "distributed/metrics_log.h"
#include "distributed/signals.h"
#include "distributed/step_profile.h"
#include "distributed/training_checkpoint.h"

namespace growmerge::distributed {
namespace {

namespace fs = std::filesystem;
/// The program, its libraries and what those keep for themselves.
constexpr std::int64_t kProcessBytes = 150'000'000;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// "then A, now B" of the first lines that differ.
std::string first_difference(const std::string& was, const std::string& is) {
  std::istringstream then(was);
  std::istringstream now(is);
  std::string a;
  std::string b;
  while (true) {
    const bool more_then = static_cast<bool>(std::getline(then, a));
    const bool more_now = static_cast<bool>(std::getline(now, b));
    if (a != b || !more_then || !more_now) {
      return concat("then ", more_then ? a : "nothing", ", now ", more_now ? b : "nothing");
    }
  }
}

/// What the ranks learn of a step together, in one small reduction.
struct StepSums {
  explicit StepSums(std::size_t num_sources)
      : sums(at::zeros({2 + 2 * static_cast<std::int64_t>(num_sources)}, at::kDouble)) {}
  double* data() { return sums.data_ptr<double>(); }
  double& stop_term() { return data()[0]; }
  double& stop_usr1() { return data()[1]; }
  double& loss(std::size_t source) { return data()[2 + 2 * source]; }
  double& targets(std::size_t source) { return data()[3 + 2 * source]; }
  at::Tensor sums;
};

class Trainer {
 public:
  Trainer(const TrainConfig& config, Model model, BatchSource& source, BatchSource* held_out,
          Communicator& comm, std::span<StepObserver* const> observers, const TrainRun& run)
      : config_(config),
        model_(std::move(model)),
        source_(source),
        held_out_(held_out),
        comm_(comm),
        observers_(observers),
        run_(run) {}

  TrainResult run() {
    const Clock::time_point start = Clock::now();
    prepare();
    resume();
    if (!is_finished(state_)) {
      open_metrics();
      if (held_out_ != nullptr && eval_due(state_.step)) {
        evaluate();
      }
      loop();
    }
    finish();
    result_.steps = state_.step;
    result_.tokens = state_.tokens;
    result_.flops = state_.flops;
    result_.held_out = state_.held_out;
    result_.budget_mismatch = plan_.mismatch;
    result_.seconds = seconds_since(start);
    return result_;
  }

 private:
  void prepare() {
    config_.validate();
    plan_ = plan_training(config_, model_.config, source_.row_tokens());
    GM_CHECK(source_.vocab_size() <= model_.config.vocab_size, kMismatch,
             "training data: made with a vocabulary of ", source_.vocab_size(), ", the model has ",
             model_.config.vocab_size, "; tokenize with the model's tokenizer");
    GM_CHECK(held_out_ == nullptr || held_out_->vocab_size() <= model_.config.vocab_size, kMismatch,
             "held-out data: made with a vocabulary of ",
             held_out_ == nullptr ? 0 : held_out_->vocab_size(), ", the model has ",
             model_.config.vocab_size);
    GM_CHECK(source_.row_tokens() <= model_.config.max_position_embeddings, kInvalidArgument,
             "training data: rows of ", source_.row_tokens(),
             " tokens, the model has positions for ", model_.config.max_position_embeddings,
             " (max_position_embeddings); lower row_tokens, or raise that number in config.json if "
             "the model is to learn longer contexts");
    GM_CHECK(
        held_out_ == nullptr || held_out_->row_tokens() <= model_.config.max_position_embeddings,
        kInvalidArgument, "held-out data: rows of ",
        held_out_ == nullptr ? 0 : held_out_->row_tokens(), " tokens, the model has positions for ",
        model_.config.max_position_embeddings,
        " (max_position_embeddings); lower held_out.row_tokens");
    GM_CHECK(config_.profile.from_step == 0 ||
                 config_.profile.from_step + config_.profile.steps - 1 <= plan_.steps,
             kInvalidArgument, "profile: steps ", config_.profile.from_step, " to ",
             config_.profile.from_step + config_.profile.steps - 1, ", training has ", plan_.steps);
    const std::int64_t needed = plan_.steps * config_.batch_rows;
    GM_CHECK(source_.num_rows() < 0 || source_.num_rows() >= needed, kInvalidArgument,
             "training data: ", plan_.steps, " steps of ", config_.batch_rows, " rows need ",
             needed, " rows, the stream has ", source_.num_rows(),
             "; lower the budget or allow more epochs");
    comm_.set_timeout(config_.timeout_s);
    const at::ScalarType master = master_dtype(config_);
    ParamMap masters;
    for (const auto& [name, tensor] : model_.params) {
      masters.set(name, tensor.to(master).contiguous().clone());
    }
    model_.params = std::move(masters);
    optimizer_ = make_adamw_state(model_.params);
    buckets_.emplace(model_.params, master, static_cast<std::int64_t>(config_.bucket_mb * 1e6));
    const at::ScalarType compute = parse_dtype(config_.dtype, "dtype");
    compute_ = compute == master ? ParamMap() : model_.params.to(compute);
    window_.assign(source_.source_names().size() * 2, 0.0);
    if (plan_.mismatch != 0.0 && comm_.is_root()) {
      log_info(concat("budget: ", plan_.steps, " whole steps, ", 100.0 * plan_.mismatch,
                      " % beside what was asked for"));
    }
  }

  const ParamMap& compute_params() const { return compute_.empty() ? model_.params : compute_; }

  void resume() {
    state_.num_steps = plan_.steps;
    state_.stream = source_.identity();
    state_.config = resumable_config(config_);
    state_.start = run_.start_identity;
    // One rank looks and decides; the others follow.
    std::string found;
    run_agreed(comm_, [&] {
      if (comm_.is_root()) {
        found = newest_training_checkpoint(run_.work_dir).value_or(fs::path()).string();
      }
    });
    comm_.broadcast_bytes(found, 0);
    if (!found.empty()) {
      run_agreed(comm_, [&] {
        const TrainingState saved = read_training_state(found);
        check_same_run(saved, found);
        state_ = saved;
        if (comm_.is_root()) {
          set_aside_later(run_.work_dir, saved.step);
          if (!is_finished(saved)) {
            load_training_checkpoint(found, model_.params, optimizer_);
          }
        }
      });
      optimizer_.step = state_.step;
      restore_window();
      log_info(concat("resuming from ", found, " at step ", state_.step, " of ", plan_.steps));
    }
    found_ = found;
    result_.resumed_from = state_.step;
    broadcast_all();
  }

  void check_same_run(const TrainingState& saved, const std::string& where) const {
    const auto check = [&where](const std::string& was, const std::string& is, const char* what) {
      GM_CHECK(was == is, kMismatch, where, ": was written with another ", what, " (",
               first_difference(was, is), "), so going on would not be the same run; give the ",
               "former one, or remove ", fs::path(where).parent_path().string(),
               " (or take another --out) to start afresh");
    };
    check(saved.stream, state_.stream, "stream of training data");
    check(saved.start, state_.start, "starting model");
    check(saved.config, state_.config, "config");
    GM_CHECK(saved.num_steps == plan_.steps, kMismatch, where, ": was written for ",
             saved.num_steps, " steps, the budget now gives ", plan_.steps);
  }

  void broadcast_all() {
    for (const ParamMap* map : {&model_.params, &optimizer_.m, &optimizer_.v}) {
      for (const auto& [name, tensor] : *map) {
        comm_.broadcast(tensor, 0);
      }
    }
    for (const auto& [name, tensor] : compute_) {
      tensor.copy_(model_.params.at(name));
    }
  }

  void open_metrics() {
    run_agreed(comm_, [&] {
      if (comm_.is_root()) {
        // The checkpoint may be older than a held-out loss of its own step, which is then measured
        // again.
        const bool again = held_out_ != nullptr && eval_due(state_.step);
        metrics_ =
            std::make_unique<MetricsLog>(run_.work_dir, state_.step, again ? "held_out_loss" : "");
        if (config_.profile.from_step > 0) {
          profile_ = std::make_unique<StepProfile>(config_.profile, config_, run_.work_dir);
        }
      }
    });
  }

  bool eval_due(std::int64_t step) const {
    return state_.last_eval_step != step &&
           (step == 0 || step == plan_.steps ||
            (config_.eval_every > 0 && step % config_.eval_every == 0));
  }

  void loop() {
    Progress progress("training", plan_.steps, "steps", comm_.is_root());
    progress.update(state_.step);
    window_start_ = Clock::now();
    while (state_.step < plan_.steps) {
      if (profile_ != nullptr) {
        profile_->before(state_.step + 1);
      }
      const double loss = step();
      if (profile_ != nullptr) {
        profile_->after(state_.step);
      }
      const int signal = stop_signal_;
      progress.update(state_.step, concat("loss ", loss));
      const bool is_last = state_.step == plan_.steps;
      // A signal wants a checkpoint soon; but what is published says its own last loss.
      if ((signal == 0 || is_last) && held_out_ != nullptr && eval_due(state_.step)) {
        evaluate();
      }
      if (signal != 0 || is_last ||
          (config_.checkpoint_every > 0 && state_.step % config_.checkpoint_every == 0)) {
        checkpoint();
      }
      if (signal != 0 && !is_last) {
        fail(ErrorCode::kInterrupted, stop_signal_name(signal), ": stopped after step ",
             state_.step, " of ", plan_.steps, "; ", found_,
             " is written, the same command goes on from it");
      }
    }
    progress.finish();
  }

  /// One optimizer step; returns its loss.
  double step() {
    const profile::Scope scope("step");
    const std::int64_t first_row = state_.next_row;
    const std::size_t num_sources = source_.source_names().size();
    StepSums sums(num_sources);
    std::string bad_rows;
    buckets_->zero();
    accumulate(first_row, sums, bad_rows);
    {
      const profile::Scope waiting("wait for gradients of other ranks");
      buckets_->finish(comm_);
    }
    const int seen = StopSignals::requested();
    sums.stop_term() = seen == SIGTERM || seen == SIGINT ? 1.0 : 0.0;
    sums.stop_usr1() = seen == SIGUSR1 ? 1.0 : 0.0;
    comm_.all_reduce(sums.sums, ReduceOp::kSum);
    stop_signal_ = sums.stop_term() > 0.0 ? SIGTERM : sums.stop_usr1() > 0.0 ? SIGUSR1 : 0;
    double loss_sum = 0.0;
    double targets = 0.0;
    for (std::size_t i = 0; i < num_sources; ++i) {
      loss_sum += sums.loss(i);
      targets += sums.targets(i);
    }
    const double norm = gradient_norm() / targets;
    check_finite(loss_sum, targets, norm, bad_rows);

    const double clip =
        config_.clip_norm > 0.0 && norm > config_.clip_norm ? config_.clip_norm / norm : 1.0;
    const double lr =
        learning_rate(config_.schedule, state_.step, plan_.steps, plan_.tokens_per_step);
    adamw_step_(model_.params, buckets_->grads(), optimizer_, lr, clip / targets, config_.optimizer,
                compute_);
    ++state_.step;
    state_.next_row += config_.batch_rows;
    state_.tokens += plan_.tokens_per_step;
    state_.flops = plan_.flops_per_step * static_cast<double>(state_.step);
    for (std::size_t i = 0; i < num_sources; ++i) {
      window_[2 * i] += sums.loss(i);
      window_[2 * i + 1] += sums.targets(i);
    }
    const double loss = loss_sum / targets;
    result_.losses.push_back(loss);
    log_step(loss, lr, norm);
    return loss;
  }

  double gradient_norm() {
    const profile::Scope scope("gradient norm");
    return std::sqrt(squared_norm(buckets_->grads()));
  }

  Batch next_rows(std::int64_t first, std::int64_t count) {
    const profile::Scope scope("wait for data");
    return source_.rows(first, count);
  }

  /// Adds this rank's gradients to the buckets and its losses to `sums`.
  void accumulate(std::int64_t first_row, StepSums& sums, std::string& bad_rows) {
    const RowRange mine = rows_of_rank(config_.batch_rows, comm_.rank(), comm_.size());
    const std::int64_t micro =
        config_.microbatch_rows > 0 ? config_.microbatch_rows : config_.batch_rows;
    for (std::int64_t row = mine.begin; row < mine.end; row += micro) {
      const Batch batch = next_rows(first_row + row, std::min(micro, mine.end - row));
      const bool is_last = row + micro >= mine.end;
      const LossResult loss = loss_and_gradients(
          model_.config, compute_params(), batch, 1.0, buckets_->grads(),
          [&](const std::string& name) {
            if (is_last) {
              buckets_->ready(name, comm_);
            }
          },
          &workspace_);
      for (std::size_t i = 0; i < loss.row_loss_sum.size(); ++i) {
        const auto source = static_cast<std::size_t>(batch.row_sources[i]);
        sums.loss(source) += loss.row_loss_sum[i];
        sums.targets(source) += static_cast<double>(loss.row_num_targets[i]);
        if (!std::isfinite(loss.row_loss_sum[i])) {
          bad_rows +=
              concat(bad_rows.empty() ? "" : ", ", first_row + row + static_cast<std::int64_t>(i));
        }
      }
    }
  }

  /// The arguments are sums over ranks, equal on all of them (bad_rows excepted), so all ranks
  /// throw or none does.
  void check_finite(double loss_sum, double targets, double norm, const std::string& bad_rows) {
    if (std::isfinite(loss_sum) && std::isfinite(norm)) {
      return;
    }
    const std::string step = concat("step ", state_.step + 1, ", rows ", state_.next_row, " to ",
                                    state_.next_row + config_.batch_rows - 1);
    GM_CHECK(targets > 0.0, kCorrupt, step, ": no row holds a target to predict");
    std::string where;
    const auto all = comm_.all_gather_bytes(bad_rows);
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      if (!all[rank].empty()) {
        where += concat("; not finite in rows ", all[rank], " on rank ", rank);
      }
    }
    fail(ErrorCode::kCorrupt, step, ": loss ", loss_sum / targets, ", gradient norm ", norm, where,
         "; nothing was saved over: lower the learning rate, or look at these rows, and run again "
         "from the last checkpoint");
  }

  void log_step(double loss, double lr, double norm) {
    const profile::Scope scope("metrics");
    std::map<std::string, double> metrics;
    const StepInfo info{
        .step = state_.step, .tokens = state_.tokens, .flops = state_.flops, .loss = loss};
    for (StepObserver* observer : observers_) {
      observer->after_step(info, model_.params, metrics);
    }
    ++window_steps_;
    const bool is_due = state_.step % config_.log_every == 0 || state_.step == plan_.steps;
    if (is_due) {
      add_window(metrics);
      metrics["lr"] = lr;
      metrics["grad_norm"] = norm;
      const double seconds = seconds_since(window_start_);
      metrics["tokens_per_s"] =
          static_cast<double>(window_steps_ * plan_.tokens_per_step) / seconds;
      if (config_.peak_tflops > 0.0) {
        metrics["mfu"] = static_cast<double>(window_steps_) * plan_.flops_per_step / seconds /
                         (config_.peak_tflops * 1e12 * comm_.size());
      }
      std::fill(window_.begin(), window_.end(), 0.0);
      window_steps_ = 0;
      window_start_ = Clock::now();
    }
    if (!metrics.empty()) {
      write_metrics(std::move(metrics));
    }
  }

  /// Mean losses since the last line, over all and per source.
  void add_window(std::map<std::string, double>& metrics) const {
    double total = 0.0;
    double targets = 0.0;
    const auto& names = source_.source_names();
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (window_[2 * i + 1] > 0.0) {
        metrics["loss/" + names[i]] = window_[2 * i] / window_[2 * i + 1];
      }
      total += window_[2 * i];
      targets += window_[2 * i + 1];
    }
    metrics["loss"] = total / targets;
  }

  void write_metrics(std::map<std::string, double> metrics) {
    if (metrics_ != nullptr) {
      metrics["tokens"] = static_cast<double>(state_.tokens);
      metrics["flops"] = state_.flops;
      metrics["tokens_total"] = static_cast<double>(state_.tokens + run_.tokens_before);
      metrics["flops_total"] = state_.flops + run_.flops_before;
      metrics_->write(state_.step, metrics);
    }
  }

  void evaluate() {
    const Clock::time_point begin = Clock::now();
    state_.held_out =
        held_out_loss(model_.config, compute_params(), *held_out_,
                      {.rows = config_.eval_rows, .microbatch_rows = config_.microbatch_rows},
                      comm_, &workspace_);
    state_.last_eval_step = state_.step;
    write_metrics(state_.held_out);
    log_info(concat("step ", state_.step, ": held-out loss ", state_.held_out.at("held_out_loss"),
                    " nats per token"));
    window_start_ += Clock::now() - begin;  // not training time
  }

  void checkpoint() {
    const Clock::time_point begin = Clock::now();
    const auto& names = source_.source_names();
    state_.window.clear();
    for (std::size_t i = 0; i < names.size(); ++i) {
      state_.window["loss/" + names[i]] = window_[2 * i];
      state_.window["targets/" + names[i]] = window_[2 * i + 1];
    }
    run_agreed(comm_, [&] {
      if (comm_.is_root()) {
        save_training_checkpoint(run_.work_dir, state_, model_, optimizer_,
                                 {.dtype = parse_dtype(config_.save_dtype, "save_dtype"),
                                  .companions_from = run_.companions_from},
                                 config_.keep_last);
      }
    });
    found_ = (run_.work_dir / concat("step-", state_.step)).string();
    window_start_ += Clock::now() - begin;
  }

  void restore_window() {
    const auto& names = source_.source_names();
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto loss = state_.window.find("loss/" + names[i]);
      const auto targets = state_.window.find("targets/" + names[i]);
      if (loss != state_.window.end() && targets != state_.window.end()) {
        window_[2 * i] = loss->second;
        window_[2 * i + 1] = targets->second;
      }
    }
  }

  void finish() {
    metrics_.reset();
    run_agreed(comm_, [&] {
      if (comm_.is_root()) {
        publish_checkpoint(
            run_.work_dir, found_,
            {.keep_moments = config_.save_trainer_state, .keep_steps = config_.keep_checkpoints});
      }
    });
  }

  const TrainConfig config_;
  Model model_;  // masters
  BatchSource& source_;
  BatchSource* held_out_;
  Communicator& comm_;
  std::span<StepObserver* const> observers_;
  const TrainRun run_;

  TrainPlan plan_;
  TrainingState state_;
  AdamWState optimizer_;
  std::optional<GradientBuckets> buckets_;
  Workspace workspace_;
  ParamMap compute_;  // rounded copies; empty where the masters are computed with
  std::unique_ptr<MetricsLog> metrics_;   // rank 0 alone
  std::unique_ptr<StepProfile> profile_;  // rank 0 alone, where one is asked for
  std::string found_;                     // the newest checkpoint
  int stop_signal_ = 0;
  std::vector<double> window_;  // per source: sum of NLL, targets, since the last metrics line
  std::int64_t window_steps_ = 0;
  Clock::time_point window_start_;
  TrainResult result_;
};

}  // namespace

TrainResult train(const TrainConfig& config, Model model, BatchSource& source,
                  BatchSource* held_out, Communicator& comm,
                  std::span<StepObserver* const> observers, const TrainRun& run) {
  const StopSignals signals;
  return Trainer(config, std::move(model), source, held_out, comm, observers, run).run();
}

std::int64_t checkpoint_bytes(const TrainConfig& config, const ModelConfig& model,
                              std::int64_t num_steps) {
  const at::ScalarType master = master_dtype(config);
  const at::ScalarType saved = parse_dtype(config.save_dtype, "save_dtype");
  const auto width = static_cast<std::int64_t>(c10::elementSize(master));
  // The model, two moments, and the masters where the model is rounded.
  const std::int64_t bytes = static_cast<std::int64_t>(c10::elementSize(saved)) + 2 * width +
                             (saved == master ? 0 : width);
  const std::int64_t every = config.checkpoint_every;
  const std::int64_t written = every > 0 ? (num_steps + every - 1) / every : 1;
  // One more than is kept, because the oldest goes when the new one is whole.
  return num_parameters(model) * bytes * std::min(written, config.keep_last + 1);
}

std::int64_t training_bytes(const TrainConfig& config, const ModelConfig& model,
                            std::int64_t row_tokens, int world_size) {
  const at::ScalarType master = master_dtype(config);
  const at::ScalarType compute = parse_dtype(config.dtype, "dtype");
  const auto width = static_cast<std::int64_t>(c10::elementSize(master));
  const std::int64_t copies =
      compute == master ? 0 : static_cast<std::int64_t>(c10::elementSize(compute));
  const std::int64_t rank_rows = (config.batch_rows + world_size - 1) / world_size;
  const std::int64_t rows =
      config.microbatch_rows > 0 ? std::min(config.microbatch_rows, rank_rows) : rank_rows;
  // Masters, gradients and two moments.
  return kProcessBytes + num_parameters(model) * (4 * width + copies) +
         activation_bytes(model, rows * row_tokens, compute);
}

}  // namespace growmerge::distributed
