#include "merging/deltas/sign_election.h"

#include <cstring>

#include "core/base/simd.h"

namespace growmerge::merging {

// On the bits, because comparing floats may trap and is then no vector code.
GM_SIMD void add_agreeing(const float* x, const float* elected, float weight, std::int64_t count,
                          float* sum, float* divisor) {
  constexpr std::uint32_t kMinusZero = 0x80000000U;
  std::uint32_t weight_bits = 0;
  std::memcpy(&weight_bits, &weight, sizeof(weight_bits));
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::uint32_t sign = 0;
    std::memcpy(&bits, x + i, sizeof(bits));
    std::memcpy(&sign, elected + i, sizeof(sign));
    // All ones where the condition holds. As integers, positive floats are 1 to kMinusZero - 1 and
    // negative ones lie above kMinusZero.
    const std::uint32_t plus = bits - 1U < kMinusZero - 1U ? ~0U : 0U;
    const std::uint32_t minus = bits > kMinusZero ? ~0U : 0U;
    const std::uint32_t agrees = sign > kMinusZero ? minus : plus;
    const std::uint32_t value_bits = bits & agrees;
    const std::uint32_t by_bits = weight_bits & agrees;
    float value = 0.0F;
    float by = 0.0F;
    std::memcpy(&value, &value_bits, sizeof(value));
    std::memcpy(&by, &by_bits, sizeof(by));
    sum[i] += value;
    divisor[i] += by;
  }
}

GM_SIMD void finish_block(const float* base, const float* divisor, bool normalize, float lambda,
                          std::int64_t count, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float by = normalize && divisor[i] != 0.0F ? divisor[i] : 1.0F;
    sum[i] = base[i] + lambda * (sum[i] / by);
  }
}

}  // namespace growmerge::merging
