#include "launch/symmetry.h"

#include "core/base/error.h"
#include "upscaling/hypercloning.h"
#include "upscaling/symmetry.h"

namespace growmerge::launch {

std::unique_ptr<StepObserver> make_growth_observer(const ModelConfig& model,
                                                   const SymmetryConfig& config) {
  GM_CHECK(config.every >= 0, kInvalidArgument, "symmetry.every must not be negative, got ",
           config.every);
  const auto records = upscaling::growth_records(model);
  if (records.empty() || config.every == 0) {
    return nullptr;
  }
  // The clones of the last growth are what could still be equal.
  return upscaling::make_symmetry_observer(model, records.back(), config.every);
}

}  // namespace growmerge::launch
