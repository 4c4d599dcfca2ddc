// The end of a training step: from this rank's losses and the summed gradients to new parameters,
// and the numbers that the host logs.
//
// On the CPU all is done when a function returns. On CUDA everything is queued and nobody waits for
// the device: the norm, the clip factor and the check for what is not finite are made there, and a
// step that fails the check changes nothing. The numbers reach pinned host memory behind an event,
// so the host can read them a step late.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/contracts/batch_source.h"
#include "core/contracts/communicator.h"
#include "core/contracts/parameter_store.h"
#include "core/ops/adamw.h"
#include "core/transformer/transformer.h"

namespace growmerge::distributed {

/// This rank's rows of one step.
class RankRows {
 public:
  RankRows(std::int64_t count, at::Device device);
  /// The next microbatch's rows.
  void add(const Batch& batch, const RowLosses& losses);

  [[nodiscard]] const at::Tensor& loss() const { return loss_; }  // float64 [count], on the device
  [[nodiscard]] std::int32_t source(std::size_t row) const { return sources_[row]; }
  [[nodiscard]] double targets(std::size_t row) const { return targets_[row]; }
  [[nodiscard]] std::size_t size() const { return sources_.size(); }

 private:
  at::Tensor loss_;
  std::vector<std::int32_t> sources_;
  std::vector<double> targets_;
};

/// What the ranks learn of a step together: requests, targets and losses per source. One small
/// reduction in host memory, and on CUDA one more there.
class StepSums {
 public:
  StepSums(std::size_t num_sources, at::Device device);
  void add(const RankRows& rows);
  /// A signal to stop for (0: none), and whether this rank wants the step's numbers at once, or a
  /// checkpoint.
  void request(int signal, bool reads_now, bool saves);
  /// Collective.
  void reduce(Communicator& comm);

  /// After reduce(), the same on all ranks: the signal to stop for, or 0; whether a rank wants the
  /// numbers at once.
  [[nodiscard]] int stop_signal() const;
  [[nodiscard]] bool reads_now() const;
  [[nodiscard]] bool saves() const;  // a rank wants a checkpoint
  [[nodiscard]] double targets(std::size_t source) const;
  [[nodiscard]] double targets() const;
  [[nodiscard]] const at::Tensor& loss() const { return loss_; }  // float64 [S], on the device

 private:
  std::size_t num_sources_;
  at::Tensor host_;  // float64: four requests, S targets and, on the CPU, S losses
  at::Tensor loss_;  // on the CPU the end of host_
};

/// A step's numbers over all ranks, and this rank's rows, for the host to read.
class StepNumbers {
 public:
  StepNumbers() = default;
  /// Begins to bring them to the host: losses float64 [S], norm float64 [1], rows float64 [R].
  StepNumbers(const at::Tensor& losses, const at::Tensor& norm, const at::Tensor& row_losses);

  /// Returns when they are there. Errors: kDistributed after timeout_s (0: never), and what `comm`
  /// notices meanwhile.
  void wait(Communicator& comm, double timeout_s);
  [[nodiscard]] double loss(std::size_t source) const;
  [[nodiscard]] double norm() const;  // of the mean gradient, before clipping
  [[nodiscard]] std::span<const double> row_losses() const;

 private:
  at::Tensor losses_, norm_, row_losses_;  // in host memory
  std::optional<c10::Event> arrived_;      // on CUDA
};

struct UpdateOptions {
  double lr = 0.0;
  double clip_norm = 0.0;  // 0 never clips
  AdamWConfig adamw;
};

/// Takes an AdamW step with what the rank owns and its gradients (sums over ranks and targets),
/// unless a loss or the norm is not finite or there is no target: then parameters and moments stay
/// as they are. Counts the step in `state` (laid out as store.owned().params) either way.
/// Collective.
[[nodiscard]] StepNumbers update_parameters(ParameterStore& store, AdamWState& state,
                                            const StepSums& sums, const RankRows& rows,
                                            const UpdateOptions& options);

}  // namespace growmerge::distributed
