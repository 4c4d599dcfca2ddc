#include "core/contracts/batch_source.h"

namespace growmerge {

std::int64_t Batch::num_targets() const {
  const std::int64_t* target = targets.data_ptr<std::int64_t>();
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    count += target[i] != kIgnoredTarget ? 1 : 0;
  }
  return count;
}

}  // namespace growmerge
