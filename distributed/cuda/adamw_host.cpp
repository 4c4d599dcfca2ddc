#include <bit>
#include <cstdint>

#include "distributed/cuda/adamw_math.h"

namespace growmerge::distributed {
namespace {

/// Round to nearest, ties to even; NaN stays NaN.
std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) {
    return static_cast<std::uint16_t>((bits >> 16U) | 0x40U);
  }
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

}  // namespace

void adamw_step_host(const AdamWStep& step) {
  auto* copy = static_cast<std::uint16_t*>(step.bf16_copy);
  for (long i = 0; i < step.n; ++i) {
    step.param[i] = adamw_element(step, step.param[i], step.grad[i], step.m[i], step.v[i]);
    if (copy != nullptr) {
      copy[i] = to_bf16(step.param[i]);
    }
  }
}

}  // namespace growmerge::distributed
