// Watching the clones of a grown model while it trains.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "core/base/config.h"
#include "core/contracts/step_observer.h"
#include "core/model/model_config.h"

namespace growmerge::launch {

struct SymmetryConfig {
  std::int64_t every = 10;

  void describe(FieldVisitor& v) {
    v("every", every, "steps",
      "how often the asymmetry of a grown model's blocks is measured; 0 never");
  }
};

/// Nothing for a model that was not grown (growmerge_growth in its config.json says).
[[nodiscard]] std::unique_ptr<StepObserver> make_growth_observer(const ModelConfig& model,
                                                                 const SymmetryConfig& config);

}  // namespace growmerge::launch
