#include "core/base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace growmerge {
namespace {

TEST(Crc32c, MatchesPublishedCheckValues) {
  EXPECT_EQ(crc32c("123456789", 9), 0xE3069283u);  // the catalogue's check value
  EXPECT_EQ(crc32c_table("123456789", 9), 0xE3069283u);
  const std::string zeros(32, '\0');  // RFC 3720, B.4
  EXPECT_EQ(crc32c(zeros.data(), 32), 0x8A9136AAu);
}

TEST(Crc32c, InstructionAndTableAgreeInPieces) {
  std::string text;
  for (int i = 0; i < 1000; ++i) {
    text += static_cast<char>(i * 37 + i / 7);
  }
  for (const std::size_t cut : {0u, 1u, 7u, 8u, 9u, 500u, 999u, 1000u}) {
    const std::uint32_t first = crc32c(text.data(), cut);
    EXPECT_EQ(crc32c(text.data() + cut, text.size() - cut, first),
              crc32c_table(text.data(), text.size()));
  }
}

}  // namespace
}  // namespace growmerge
