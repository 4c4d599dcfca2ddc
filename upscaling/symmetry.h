// How far the copies of a grown model have moved apart.
//
// Cloned without noise, all blocks of a tensor are equal, receive equal gradients and stay equal:
// the grown model then computes nothing that the small one could not (docs/methods/growth.md).
// With B_k the K = n_out x n_in blocks of a tensor and B their mean,
//   asymmetry   = sqrt(sum_k |B_k - B|^2 / sum_k |B_k|^2)     0: clones; about 1: unrelated
//   cloning R^2 = 1 - sum_k |B_k - B|^2 / sum_k |B_k - grand mean|^2   1: clones; 1/K: unrelated
// (cloning R^2 after "Barriers for Learning in an Evolving World", arXiv 2510.00304, over weights,
// not activations). Differences are taken from the first block, so that equal blocks give exactly
// 0.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/contracts/step_observer.h"
#include "core/model/model_config.h"
#include "core/store/param_map.h"
#include "upscaling/hypercloning.h"

namespace growmerge::upscaling {

struct Symmetry {
  std::map<std::string, double>
      asymmetry;            // per tensor group (TensorRow::group), and "all" over matrices
  double cloning_r2 = 0.0;  // over matrices
};

/// `config` is the grown model's, `growth` one of its growth_records(). Deterministic, float64.
/// Errors: kMismatch when the numbers of `growth` do not fit `config`.
[[nodiscard]] Symmetry measure_symmetry(const ModelConfig& config, const GrowthRecord& growth,
                                        const ParamMap& params);

/// Logs asymmetry/GROUP, asymmetry/all and asymmetry/cloning_r2 every `every` steps, and raises an
/// alarm (log_warning, at first and whenever the number of alarms doubles) while asymmetry/all is
/// below 1e-6 after training steps: the grown model still equals the small one. Errors:
/// kInvalidArgument (every < 1), kMismatch.
[[nodiscard]] std::unique_ptr<StepObserver> make_symmetry_observer(const ModelConfig& config,
                                                                   const GrowthRecord& growth,
                                                                   std::int64_t every);

}  // namespace growmerge::upscaling
