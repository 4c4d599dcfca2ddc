#include "distributed/train.h"

#include <c10/util/Exception.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <memory>
#include <optional>
#include <sstream>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/profile.h"
#include "core/base/progress.h"
#include "core/model/lr_schedule.h"
#include "core/ops/adamw.h"
#include "core/store/safetensors.h"
#include "core/transformer/transformer.h"
#include "distributed/device.h"
#include "distributed/gradient_buckets.h"
#include "distributed/held_out.h"
#include "distributed/metrics_log.h"
#include "distributed/signals.h"
#include "distributed/step_profile.h"
#include "distributed/step_update.h"
#include "distributed/training_checkpoint.h"

namespace growmerge::distributed {
namespace {

namespace fs = std::filesystem;
/// What CUDA adds to a process, in host memory and on the device.
constexpr std::int64_t kCudaProcessBytes = 2'000'000'000;
constexpr std::int64_t kCudaContextBytes = 700'000'000;
/// Links between GPUs want more at a time than a machine's memory.
constexpr double kCudaBucketMb = 64.0;

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

/// A step that was taken (on CUDA: queued), and whose numbers nobody has read yet.
struct TakenStep {
  std::int64_t step = 0;  // from 1
  std::int64_t first_row = 0;
  double lr = 0.0;
  std::vector<double> targets{};  // per source, over all ranks
  StepNumbers numbers{};
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
        run_(run),
        late_(run.steps_read_late.value_or(run.device.is_cpu() ? 0 : 1)) {}

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
    GM_CHECK(config_.profile.from_step == 0 || run_.device.is_cpu(), kInvalidArgument,
             "profile: times operators on the CPU, and on a GPU would time their launches; set "
             "profile.from_step: 0 and take Nsight Systems (nsys profile), or device: cpu");
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
    const auto options = at::TensorOptions().dtype(master).device(run_.device);
    for (const auto& [name, tensor] : model_.params) {
      masters.set(name, tensor.to(options, /*non_blocking=*/false, /*copy=*/true).contiguous());
    }
    model_.params = std::move(masters);
    optimizer_ = make_adamw_state(model_.params);
    const double bucket_mb =
        run_.device.is_cpu() ? config_.bucket_mb : std::max(config_.bucket_mb, kCudaBucketMb);
    buckets_.emplace(model_.params, master, static_cast<std::int64_t>(bucket_mb * 1e6));
    workspace_.record_graphs(config_.cuda_graphs);
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
      const StepSums sums = step();
      const int signal = sums.stop_signal();
      const bool is_last = state_.step == plan_.steps;
      // A signal wants a checkpoint soon; but what is published says its own last loss.
      const bool evaluates =
          (signal == 0 || is_last) && held_out_ != nullptr && eval_due(state_.step);
      const bool saves =
          signal != 0 || is_last ||
          (config_.checkpoint_every > 0 && state_.step % config_.checkpoint_every == 0);
      // The same on all ranks, because a step that failed makes them talk to each other.
      read_steps(evaluates || saves || sums.reads_now() ? 0 : late_);
      if (profile_ != nullptr) {
        profile_->after(state_.step);
      }
      progress.update(state_.step, result_.losses.empty() ? std::string()
                                                          : concat("loss ", result_.losses.back()));
      if (evaluates) {
        evaluate();
      }
      if (saves) {
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

  /// Takes one optimizer step, and leaves its numbers to read_steps().
  StepSums step() {
    const profile::Scope scope("step");
    const RowRange mine = rows_of_rank(config_.batch_rows, comm_.rank(), comm_.size());
    RankRows rows(mine.end - mine.begin, run_.device);
    buckets_->zero();
    accumulate(mine, rows);
    {
      const profile::Scope waiting("wait for gradients of other ranks");
      buckets_->finish(comm_);
    }
    StepSums sums(source_.source_names().size(), run_.device);
    sums.add(rows);
    const bool reads_now =
        std::any_of(observers_.begin(), observers_.end(),
                    [&](const StepObserver* observer) { return observer->wants(state_.step + 1); });
    sums.request(StopSignals::requested(), reads_now);
    sums.reduce(comm_);
    TakenStep taken{.step = state_.step + 1, .first_row = state_.next_row};
    taken.lr = learning_rate(config_.schedule, state_.step, plan_.steps, plan_.tokens_per_step);
    for (std::size_t i = 0; i < source_.source_names().size(); ++i) {
      taken.targets.push_back(sums.targets(i));
    }
    taken.numbers = update_parameters(
        model_.params, buckets_->grads(), optimizer_, compute_, sums, rows,
        {.lr = taken.lr, .clip_norm = config_.clip_norm, .adamw = config_.optimizer});
    taken_.push_back(std::move(taken));
    ++state_.step;
    state_.next_row += config_.batch_rows;
    state_.tokens += plan_.tokens_per_step;
    state_.flops = plan_.flops_per_step * static_cast<double>(state_.step);
    return sums;
  }

  /// Reads, checks and logs the oldest steps until `left` are unread.
  void read_steps(std::size_t left) {
    while (taken_.size() > left) {
      TakenStep taken = std::move(taken_.front());
      taken_.pop_front();
      taken.numbers.wait(comm_, config_.timeout_s);
      double loss_sum = 0.0;
      double targets = 0.0;
      for (std::size_t i = 0; i < taken.targets.size(); ++i) {
        loss_sum += taken.numbers.loss(i);
        targets += taken.targets[i];
      }
      check_finite(taken, loss_sum, targets);
      for (std::size_t i = 0; i < taken.targets.size(); ++i) {
        window_[2 * i] += taken.numbers.loss(i);
        window_[2 * i + 1] += taken.targets[i];
      }
      result_.losses.push_back(loss_sum / targets);
      log_step(taken, loss_sum / targets);
    }
  }

  Batch next_rows(std::int64_t first, std::int64_t count) {
    const profile::Scope scope("wait for data");
    return source_.rows(first, count);
  }

  /// Adds this rank's gradients to the buckets and its losses to `rows`.
  void accumulate(const RowRange& mine, RankRows& rows) {
    const std::int64_t micro =
        config_.microbatch_rows > 0 ? config_.microbatch_rows : config_.batch_rows;
    for (std::int64_t row = mine.begin; row < mine.end; row += micro) {
      const Batch batch = next_rows(state_.next_row + row, std::min(micro, mine.end - row));
      const bool is_last = row + micro >= mine.end;
      GradReady ready;
      if (is_last && comm_.size() > 1) {
        ready = [&](const std::string& name) { buckets_->ready(name, comm_); };
      }
      rows.add(batch, row_losses_and_gradients(model_.config, compute_params(), batch, 1.0,
                                               buckets_->grads(), ready, &workspace_));
    }
  }

  /// The sums are over ranks, equal on all of them, so all ranks throw or none does.
  void check_finite(const TakenStep& taken, double loss_sum, double targets) {
    const double norm = taken.numbers.norm();
    if (std::isfinite(loss_sum) && std::isfinite(norm) && targets > 0.0) {
      return;
    }
    const std::string step = concat("step ", taken.step, ", rows ", taken.first_row, " to ",
                                    taken.first_row + config_.batch_rows - 1);
    GM_CHECK(targets > 0.0, kCorrupt, step, ": no row holds a target to predict");
    const RowRange mine = rows_of_rank(config_.batch_rows, comm_.rank(), comm_.size());
    std::string bad_rows;
    std::int64_t row = taken.first_row + mine.begin;
    for (const double loss : taken.numbers.row_losses()) {
      if (!std::isfinite(loss)) {
        bad_rows += concat(bad_rows.empty() ? "" : ", ", row);
      }
      ++row;
    }
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

  double peak_tflops() const {
    return config_.peak_tflops > 0.0     ? config_.peak_tflops
           : config_.dtype == "bfloat16" ? peak_bfloat16_tflops(run_.device_name)
                                         : 0.0;
  }

  void log_step(const TakenStep& taken, double loss) {
    const profile::Scope scope("metrics");
    std::map<std::string, double> metrics;
    const StepInfo info{
        .step = taken.step,
        .tokens = state_.tokens - (state_.step - taken.step) * plan_.tokens_per_step,
        .flops = plan_.flops_per_step * static_cast<double>(taken.step),
        .loss = loss};
    for (StepObserver* observer : observers_) {
      if (observer->wants(info.step)) {
        observer->after_step(info, model_.params, metrics);
      }
    }
    ++window_steps_;
    const bool is_due = info.step % config_.log_every == 0 || info.step == plan_.steps;
    if (is_due) {
      add_window(metrics);
      metrics["lr"] = taken.lr;
      metrics["grad_norm"] = taken.numbers.norm();
      const double seconds = seconds_since(window_start_);
      metrics["tokens_per_s"] =
          static_cast<double>(window_steps_ * plan_.tokens_per_step) / seconds;
      if (peak_tflops() > 0.0) {
        metrics["mfu"] = static_cast<double>(window_steps_) * plan_.flops_per_step / seconds /
                         (peak_tflops() * 1e12 * comm_.size());
      }
      std::fill(window_.begin(), window_.end(), 0.0);
      window_steps_ = 0;
      window_start_ = Clock::now();
    }
    if (!metrics.empty()) {
      write_metrics(info.step, info.tokens, info.flops, std::move(metrics));
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

  void write_metrics(std::int64_t step, std::int64_t tokens, double flops,
                     std::map<std::string, double> metrics) {
    if (metrics_ != nullptr) {
      metrics["tokens"] = static_cast<double>(tokens);
      metrics["flops"] = flops;
      metrics["tokens_total"] = static_cast<double>(tokens + run_.tokens_before);
      metrics["flops_total"] = flops + run_.flops_before;
      metrics_->write(step, metrics);
    }
  }

  void evaluate() {
    const Clock::time_point begin = Clock::now();
    state_.held_out =
        held_out_loss(model_.config, compute_params(), *held_out_,
                      {.rows = config_.eval_rows, .microbatch_rows = config_.microbatch_rows},
                      comm_, &workspace_);
    state_.last_eval_step = state_.step;
    write_metrics(state_.step, state_.tokens, state_.flops, state_.held_out);
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
  const std::size_t late_;                // steps that may be left unread
  std::deque<TakenStep> taken_;           // unread ones, oldest first
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
  try {
    return Trainer(config, std::move(model), source, held_out, comm, observers, run).run();
  } catch (const c10::OutOfMemoryError& e) {
    fail(ErrorCode::kInvalidArgument, "rank ", comm.rank(), ": ", e.what_without_backtrace(),
         "; lower microbatch_rows or row_tokens, or take a smaller model");
  }
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

TrainingMemory training_memory(const TrainConfig& config, const ModelConfig& model,
                               std::int64_t row_tokens, int world_size, at::DeviceType device) {
  const at::ScalarType master = master_dtype(config);
  const at::ScalarType compute = parse_dtype(config.dtype, "dtype");
  const auto width = static_cast<std::int64_t>(c10::elementSize(master));
  const std::int64_t copies =
      compute == master ? 0 : static_cast<std::int64_t>(c10::elementSize(compute));
  const std::int64_t rank_rows = (config.batch_rows + world_size - 1) / world_size;
  const std::int64_t rows =
      config.microbatch_rows > 0 ? std::min(config.microbatch_rows, rank_rows) : rank_rows;
  // Masters, gradients and two moments.
  const std::int64_t training = num_parameters(model) * (4 * width + copies) +
                                activation_bytes(model, rows * row_tokens, compute, device);
  if (device == at::kCPU) {
    return {.host = kProcessBytes + training, .device = 0};
  }
  // The host holds the model until it is on the device.
  return {.host = kProcessBytes + kCudaProcessBytes + num_parameters(model) * width,
          .device = kCudaContextBytes + training};
}

}  // namespace growmerge::distributed
