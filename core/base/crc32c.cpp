#include "core/base/crc32c.h"

#include <array>
#include <cstring>

namespace growmerge {
namespace {

// Castagnoli's 0x1EDC6F41 with its bits in reverse, because a byte's lowest bit comes first.
constexpr std::uint32_t kReflectedPolynomial = 0x82F63B78;

/// The remainder of each byte by itself; eight bits at a time instead of one.
constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1) ^ ((value & 1) != 0 ? kReflectedPolynomial : 0);
    }
    table[byte] = value;
  }
  return table;
}

// The processor's instruction divides by this very polynomial, eight bytes at a time.
#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(const unsigned char* bytes,
                                                             std::size_t size, std::uint32_t crc) {
  // The register starts and ends inverted, so that zeros in front count; a checksum that goes on is
  // turned back first.
  std::uint64_t value = ~crc;
  for (; size >= 8; size -= 8, bytes += 8) {
    std::uint64_t word = 0;
    // `bytes` may lie at any address; this becomes one load.
    std::memcpy(&word, bytes, 8);
    value = __builtin_ia32_crc32di(value, word);
  }
  auto narrow = static_cast<std::uint32_t>(value);
  for (; size > 0; --size, ++bytes) {
    narrow = __builtin_ia32_crc32qi(narrow, *bytes);
  }
  return ~narrow;
}
#endif

}  // namespace

std::uint32_t crc32c_table(const void* bytes, std::size_t size, std::uint32_t crc) {
  static constexpr std::array<std::uint32_t, 256> kTable = make_table();
  const auto* p = static_cast<const unsigned char*>(bytes);
  std::uint32_t value = ~crc;
  for (std::size_t i = 0; i < size; ++i) {
    value = (value >> 8) ^ kTable[(value ^ p[i]) & 0xFF];
  }
  return ~value;
}

std::uint32_t crc32c(const void* bytes, std::size_t size, std::uint32_t crc) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2") != 0) {
    return crc32c_sse42(static_cast<const unsigned char*>(bytes), size, crc);
  }
#endif
  return crc32c_table(bytes, size, crc);
}

}  // namespace growmerge
