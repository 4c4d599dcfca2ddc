// What `normalize` divides by where one sum of weights holds for all entries of a tensor.
#pragma once

#include <cstdint>
#include <vector>

namespace growmerge::merging {

/// In float32, in order.
[[nodiscard]] float weight_sum(const std::vector<float>& weights);
/// x /= divisor, element by element.
void divide_by(float divisor, std::int64_t count, float* x);

}  // namespace growmerge::merging
