#include "merging/methods/weight_sum.h"

#include <numeric>

#include "core/base/simd.h"

namespace growmerge::merging {

float weight_sum(const std::vector<float>& weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0F);
}

// A division, not a product with the reciprocal: mergekit's bits.
GM_SIMD void divide_by(float divisor, std::int64_t count, float* x) {
  for (std::int64_t i = 0; i < count; ++i) {
    x[i] /= divisor;
  }
}

}  // namespace growmerge::merging
