#include "upscaling/axis.h"

#include "core/base/error.h"

namespace growmerge::upscaling {

std::int64_t AxisCopies::of(const std::vector<Axis>& dim) const {
  std::int64_t product = 1;
  for (const Axis axis : dim) {
    product *= of(axis);
  }
  return product;
}

AxisCopies width_copies(const ModelConfig& source, std::int64_t factor) {
  GM_CHECK(factor >= 1, kInvalidArgument, "growth: the width factor must be at least 1, got ",
           factor);
  const bool multi_query = source.num_kv_heads == 1 && source.num_heads > 1;
  AxisCopies copies;
  copies.set(Axis::kResidual, factor);
  copies.set(Axis::kQHead, factor);
  copies.set(Axis::kKvHead, multi_query ? 1 : factor);
  copies.set(Axis::kFfn, factor);
  return copies;
}

}  // namespace growmerge::upscaling
