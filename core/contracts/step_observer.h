// What the training loop calls after each optimizer step. launch plugs in what other rooms know
// (asymmetry of cloned blocks, evaluation during training), so that distributed/ knows neither.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/store/param_map.h"

namespace growmerge {

struct StepInfo {
  std::int64_t step = 0;    // steps done, from 1
  std::int64_t tokens = 0;  // positions seen since this run's start
  double flops = 0.0;       // spent by this run, ledger convention (core/model/flops.h)
  double loss = 0.0;        // mean NLL per target token of this step, nats
};

class StepObserver {
 public:
  virtual ~StepObserver() = default;
  /// Whether after_step() has something to do after this step. Where nobody has, a training loop on
  /// GPUs goes on without waiting for them.
  [[nodiscard]] virtual bool wants(std::int64_t step) const { return true; }
  /// Called on every rank that wants the step, with the up-to-date fp32 master weights, whole, on
  /// the device that trains. Adds named scalars to `metrics`, which are logged with the step's own
  /// (JSONL and TensorBoard). Must not change the parameters.
  virtual void after_step(const StepInfo& info, const ParamMap& params,
                          std::map<std::string, double>& metrics) = 0;
};

}  // namespace growmerge
