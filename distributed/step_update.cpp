#include "distributed/step_update.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "core/base/error.h"
#include "core/base/profile.h"
#include "core/ops/cuda_ops.h"

namespace growmerge::distributed {
namespace {

// SIGTERM or Ctrl-C, SIGUSR1, and whether a rank reads the numbers at once.
constexpr std::int64_t kRequests = 4;

at::TensorOptions doubles(at::Device device) {
  return at::TensorOptions().dtype(at::kDouble).device(device);
}

/// Only from pinned memory does a copy run beside the host.
at::Tensor pinned(std::int64_t count) {
  return at::empty({count}, doubles(at::kCPU).pinned_memory(true));
}

/// On `device`, queued and not waited for.
at::Tensor upload(std::span<const double> values, at::Device device) {
  const at::Tensor host = pinned(static_cast<std::int64_t>(values.size()));
  std::copy(values.begin(), values.end(), host.data_ptr<double>());
  return host.to(device, /*non_blocking=*/true);
}

/// In host memory when the stream has come there.
at::Tensor bring(const at::Tensor& values) {
  if (values.is_cpu()) {
    return values;
  }
  const at::Tensor host = pinned(values.numel());
  host.copy_(values, /*non_blocking=*/true);
  return host;
}

std::span<const double> values_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<double>(), static_cast<std::size_t>(tensor.numel())};
}

StepNumbers update_on_cpu(ParameterStore& store, AdamWState& state, const StepSums& sums,
                          const RankRows& rows, const UpdateOptions& options) {
  const OwnedParameters& owned = store.owned();
  double loss_sum = 0.0;
  for (const double loss : values_of(sums.loss())) {
    loss_sum += loss;
  }
  double norm = 0.0;
  {
    const profile::Scope scope("gradient norm");
    // Summed in float64 and in a fixed order, so every rank clips by the same bits.
    const at::Tensor squared = at::full({1}, squared_norm(owned.grads), at::kDouble);
    store.sum_over_owners(squared);
    norm = std::sqrt(values_of(squared).front()) / sums.targets();
  }
  if (std::isfinite(loss_sum) && std::isfinite(norm)) {
    // Gradients are sums over targets: the mean and the clip factor are one multiplication in
    // AdamW.
    const double clip =
        options.clip_norm > 0.0 && norm > options.clip_norm ? options.clip_norm / norm : 1.0;
    adamw_step_(owned.params, owned.grads, state, options.lr, clip / sums.targets(), options.adamw,
                owned.compute);
  } else {
    // The step is counted though nothing moves, as on CUDA, where the host learns of it later.
    ++state.step;
  }
  return {sums.loss(), at::full({1}, norm, at::kDouble), rows.loss()};
}

StepNumbers update_on_cuda(ParameterStore& store, AdamWState& state, const StepSums& sums,
                           const RankRows& rows, const UpdateOptions& options) {
  const OwnedParameters& owned = store.owned();
  const CudaOps& ops = cuda_ops();
  const at::Device device = sums.loss().device();
  ++state.step;
  const auto t = static_cast<double>(state.step);
  // AdamWSchedule's order, and the number of targets behind it: one upload for all that the host
  // knows.
  const at::Tensor known =
      upload(std::vector<double>{options.lr, 1.0 - std::pow(options.adamw.beta1, t),
                                 1.0 - std::pow(options.adamw.beta2, t), options.clip_norm,
                                 sums.targets()},
             device);
  static_assert(AdamWSchedule::kLearningRate == 0 && AdamWSchedule::kBiasCorrection1 == 1 &&
                AdamWSchedule::kBiasCorrection2 == 2 && AdamWSchedule::kClipNorm == 3 &&
                AdamWSchedule::kSize == 4);
  const at::Tensor norm = at::empty({1}, doubles(device));
  const at::Tensor factors = at::empty({AdamWFactors::kSize}, doubles(device));
  ops.squared_norm(owned.grads, norm);
  store.sum_over_owners(norm);
  ops.adamw_factors(known.narrow(0, 0, AdamWSchedule::kSize), norm, sums.loss().sum(0, true),
                    known.narrow(0, AdamWSchedule::kSize, 1), factors);
  ops.adamw_step(owned.params, owned.grads, state, factors, options.adamw, owned.compute);
  return {sums.loss(), factors.narrow(0, AdamWFactors::kNorm, 1), rows.loss()};
}

}  // namespace

RankRows::RankRows(std::int64_t count, at::Device device)
    : loss_(at::empty({count}, doubles(device))) {}

void RankRows::add(const Batch& batch, const RowLosses& losses) {
  const auto begin = static_cast<std::int64_t>(sources_.size());
  loss_.narrow(0, begin, losses.loss_sum.numel()).copy_(losses.loss_sum);
  sources_.insert(sources_.end(), batch.row_sources.begin(), batch.row_sources.end());
  for (const std::int64_t count : losses.num_targets) {
    targets_.push_back(static_cast<double>(count));
  }
}

StepSums::StepSums(std::size_t num_sources, at::Device device) : num_sources_(num_sources) {
  const auto s = static_cast<std::int64_t>(num_sources);
  host_ = at::zeros({kRequests + (device.is_cpu() ? 2 : 1) * s}, at::kDouble);
  loss_ = device.is_cpu() ? host_.narrow(0, kRequests + s, s) : at::zeros({s}, doubles(device));
}

void StepSums::add(const RankRows& rows) {
  double* targets = host_.data_ptr<double>() + kRequests;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    targets[rows.source(i)] += rows.targets(i);
  }
  if (loss_.is_cpu()) {
    const auto losses = values_of(rows.loss());
    auto* sum = loss_.data_ptr<double>();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      sum[rows.source(i)] += losses[i];
    }
    return;
  }
  // As one product, whose order is fixed. (A loss that is not finite spreads to all sources: the
  // step fails, and the rows say which it was.)
  std::vector<double> is_of_source(num_sources_ * rows.size(), 0.0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    is_of_source[static_cast<std::size_t>(rows.source(i)) * rows.size() + i] = 1.0;
  }
  const at::Tensor matrix = upload(is_of_source, loss_.device())
                                .view({loss_.numel(), static_cast<std::int64_t>(rows.size())});
  loss_.add_(at::mv(matrix, rows.loss()));
}

void StepSums::request(int signal, bool reads_now, bool saves) {
  auto* requests = host_.data_ptr<double>();
  requests[0] = signal == SIGTERM || signal == SIGINT ? 1.0 : 0.0;
  requests[1] = signal == SIGUSR1 ? 1.0 : 0.0;
  requests[2] = reads_now ? 1.0 : 0.0;
  requests[3] = saves ? 1.0 : 0.0;
}

void StepSums::reduce(Communicator& comm) {
  comm.all_reduce(host_, ReduceOp::kSum);
  if (!loss_.is_cpu()) {
    comm.all_reduce(loss_, ReduceOp::kSum);
  }
}

int StepSums::stop_signal() const {
  const auto* requests = host_.const_data_ptr<double>();
  return requests[0] > 0.0 ? SIGTERM : requests[1] > 0.0 ? SIGUSR1 : 0;
}

bool StepSums::reads_now() const { return host_.const_data_ptr<double>()[2] > 0.0; }

bool StepSums::saves() const { return host_.const_data_ptr<double>()[3] > 0.0; }

double StepSums::targets(std::size_t source) const {
  return host_.const_data_ptr<double>()[kRequests + source];
}

double StepSums::targets() const {
  double sum = 0.0;
  for (std::size_t i = 0; i < num_sources_; ++i) {
    sum += targets(i);
  }
  return sum;
}

StepNumbers::StepNumbers(const at::Tensor& losses, const at::Tensor& norm,
                         const at::Tensor& row_losses)
    : losses_(bring(losses)), norm_(bring(norm)), row_losses_(bring(row_losses)) {
  if (!losses.is_cpu()) {
    // Behind the three copies in the stream's order: where it has come, they have.
    arrived_.emplace(losses.device().type());
    arrived_->record(
        c10::impl::VirtualGuardImpl(losses.device().type()).getStream(losses.device()));
  }
}

void StepNumbers::wait(Communicator& comm, double timeout_s) {
  if (!arrived_) {
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  while (!arrived_->query()) {
    // A peer may be dead, which NCCL reports only when asked.
    comm.progress();
    const double waited =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    GM_CHECK(timeout_s <= 0.0 || waited <= timeout_s, kDistributed, "rank ", comm.rank(),
             " waited ", waited, " s for its GPU to finish a step (timeout_s is ", timeout_s,
             "); a peer may hang: see the other ranks' messages, and restart the job to resume");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

double StepNumbers::loss(std::size_t source) const { return values_of(losses_)[source]; }

double StepNumbers::norm() const { return values_of(norm_).front(); }

std::span<const double> StepNumbers::row_losses() const { return values_of(row_losses_); }

StepNumbers update_parameters(ParameterStore& store, AdamWState& state, const StepSums& sums,
                              const RankRows& rows, const UpdateOptions& options) {
  return sums.loss().is_cpu() ? update_on_cpu(store, state, sums, rows, options)
                              : update_on_cuda(store, state, sums, rows, options);
}

}  // namespace growmerge::distributed
