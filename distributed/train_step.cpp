#include "distributed/train_step.h"

#include <algorithm>

#include "core/base/profile.h"
#include "core/model/lr_schedule.h"
#include "core/store/safetensors.h"
#include "distributed/held_out.h"
#include "distributed/sharding/replicated_store.h"
#include "distributed/sharding/whole_model.h"
#include "distributed/signals.h"

namespace growmerge::distributed {
namespace {

/// Links between GPUs want more at a time than a machine's memory.
constexpr double kCudaBucketMb = 64.0;

Batch next_rows(BatchSource& source, std::int64_t first, std::int64_t count) {
  const profile::Scope scope("wait for data");
  return source.rows(first, count);
}

/// Adds this rank's gradients to the store's and its losses to `rows`.
void accumulate(const TrainJob& job, Training& training, std::int64_t first_row,
                const RowRange& mine, RankRows& rows) {
  ParameterStore& store = *training.store;
  const WholeModel whole(store);
  const ParamMap grads = whole.gradients();
  const std::int64_t micro =
      job.config.microbatch_rows > 0 ? job.config.microbatch_rows : job.config.batch_rows;
  for (std::int64_t row = mine.begin; row < mine.end; row += micro) {
    const Batch batch = next_rows(job.source, first_row + row, std::min(micro, mine.end - row));
    const bool is_last = row + micro >= mine.end;
    GradReady ready;
    // A single process has nobody to send to, and without a listener a pass can be replayed from a
    // CUDA graph.
    if (is_last && job.comm.size() > 1) {
      ready = [&](const std::string& name) { store.ready(name); };
    }
    rows.add(batch, row_losses_and_gradients(job.model, whole.params(), batch, 1.0, grads, ready,
                                             &training.workspace));
  }
}

/// What the ranks tell each other behind their backward passes.
StepSums sum_over_ranks(const TrainJob& job, const RankRows& rows, std::int64_t step, bool saves) {
  StepSums sums(job.source.source_names().size(), job.run.device);
  sums.add(rows);
  const bool reads_now =
      std::any_of(job.observers.begin(), job.observers.end(),
                  [&](const StepObserver* observer) { return observer->wants(step); });
  sums.request(StopSignals::requested(), reads_now, saves);
  sums.reduce(job.comm);
  return sums;
}

}  // namespace

Training start_training(const TrainJob& job, const ParamMap& params) {
  const double bucket_mb = job.run.device.is_cpu() ? job.config.bucket_mb
                                                   : std::max(job.config.bucket_mb, kCudaBucketMb);
  Training out;
  out.store = std::make_unique<ReplicatedStore>(
      params,
      ReplicatedStoreOptions{.num_layers = job.model.num_layers,
                             .master = master_dtype(job.config),
                             .compute = parse_dtype(job.config.dtype, "dtype"),
                             .device = job.run.device,
                             .bucket_bytes = static_cast<std::int64_t>(bucket_mb * 1e6)},
      job.comm);
  out.optimizer = make_adamw_state(out.store->owned().params);
  out.workspace.record_graphs(job.config.cuda_graphs);
  return out;
}

TakenStep take_step(const TrainJob& job, Training& training, TrainingState& state, bool saves) {
  const profile::Scope scope("step");
  ParameterStore& store = *training.store;
  const RowRange mine = rows_of_rank(job.config.batch_rows, job.comm.rank(), job.comm.size());
  RankRows rows(mine.end - mine.begin, job.run.device);
  store.zero_gradients();
  accumulate(job, training, state.next_row, mine, rows);
  {
    const profile::Scope waiting("wait for gradients of other ranks");
    store.finish_gradients();
  }
  const StepSums sums = sum_over_ranks(job, rows, state.step + 1, saves);
  TakenStep taken{.step = state.step + 1, .first_row = state.next_row};
  taken.tokens = state.tokens + job.plan.tokens_per_step;
  taken.lr =
      learning_rate(job.config.schedule, state.step, job.plan.steps, job.plan.tokens_per_step);
  for (std::size_t i = 0; i < job.source.source_names().size(); ++i) {
    taken.targets.push_back(sums.targets(i));
  }
  taken.stop_signal = sums.stop_signal();
  taken.is_observed = sums.reads_now();
  taken.saves = sums.saves();
  taken.numbers = update_parameters(
      store, training.optimizer, sums, rows,
      {.lr = taken.lr, .clip_norm = job.config.clip_norm, .adamw = job.config.optimizer});
  // The next pass, of training or of evaluation, begins with what was just written.
  prefetch_all(store);
  state.step = taken.step;
  state.next_row += job.config.batch_rows;
  state.tokens = taken.tokens;
  state.flops = job.plan.flops_per_step * static_cast<double>(state.step);
  return taken;
}

}  // namespace growmerge::distributed
