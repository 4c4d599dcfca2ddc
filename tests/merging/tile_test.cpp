#include "merging/tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/random.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

using Values = std::vector<float>;

TEST(TileSink, RefusesOverflowAndRoundsToNearestEven) {
  std::vector<std::uint16_t> stored(4);
  TileSink sink{.dtype = at::kBFloat16,
                .label = "tensor 't'",
                .put = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
                  std::memcpy(reinterpret_cast<std::byte*>(stored.data()) + offset, bytes.data(),
                              bytes.size());
                }};
  const float values[] = {1.0F, 1.0F + 0x1p-8F, 1.0F + 3 * 0x1p-8F, -1.0F - 0x1.8p-8F};
  sink.write(0, 4, values);
  EXPECT_EQ(stored, (std::vector<std::uint16_t>{0x3f80, 0x3f80, 0x3f82, 0xbf81}));
  const float large[] = {3.4e38F};
  EXPECT_ERROR(sink.write(0, 1, large), kCorrupt, "tensor 't'", "not finite", "BFloat16");
  sink.dtype = at::kHalf;
  const float wide[] = {70000.0F};
  EXPECT_ERROR(sink.write(0, 1, wide), kCorrupt, "Half");
}

TEST(TileSource, ReadsEveryDtypeUnaligned) {
  const Philox random(1, 1);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const std::size_t size = c10::elementSize(dtype);
    Values expected(100);
    std::vector<std::byte> bytes(100 * size + 1);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = static_cast<float>(random.below(i, 17)) - 8.0F;  // exact in every dtype
      std::byte* at = bytes.data() + 1 + i * size;
      if (dtype == at::kFloat) {
        std::memcpy(at, &expected[i], size);
      } else if (dtype == at::kDouble) {
        const double x = expected[i];
        std::memcpy(at, &x, size);
      } else if (dtype == at::kBFloat16) {
        const c10::BFloat16 x(expected[i]);
        std::memcpy(at, &x, size);
      } else {
        const c10::Half x(expected[i]);
        std::memcpy(at, &x, size);
      }
    }
    const TileSource s{.bytes = std::span(bytes).subspan(1), .dtype = dtype, .label = "x"};
    Values got(90);
    s.load(10, 90, got.data());
    EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin() + 10)) << dtype;
  }
}

}  // namespace
}  // namespace growmerge::merging
