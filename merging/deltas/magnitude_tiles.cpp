#include "merging/deltas/magnitude_tiles.h"

#include <cstring>

#include "core/base/simd.h"

namespace growmerge::merging {

GM_SIMD void magnitude_bits(const float* a, const float* b, std::int64_t count,
                            std::uint32_t* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float delta = a[i] - b[i];
    std::uint32_t bits = 0;
    std::memcpy(&bits, &delta, sizeof(bits));
    out[i] = bits & 0x7fffffffU;
  }
}

}  // namespace growmerge::merging
