#include "core/base/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/base/simd.h"

namespace growmerge {
namespace {

// The paper's multipliers, and what is added to the key in each round: the golden ratio and sqrt(3)
// - 1, of 32 bits.
constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85;

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

namespace {

std::array<std::uint32_t, 4> block(std::uint64_t seed, std::uint64_t stream,
                                   std::uint64_t position) {
  return philox4x32(
      {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
       static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

/// 53 bits, as many as a double's fraction holds: no result is rounded, and 1 is never reached.
double to_unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1.0p-53; }

}  // namespace

GM_SIMD void philox_fill(std::uint64_t seed, std::uint64_t stream, std::uint64_t first,
                         std::int64_t count, std::uint32_t* out) {
  // Words in 64 bits, whose products need no widening; GCC's vectors, because the loops that it
  // would have to find are unrolled first.
  constexpr std::int64_t kLanes = 8;
  constexpr std::uint64_t kLow = 0xFFFFFFFF;
  using Lanes = std::uint64_t __attribute__((vector_size(kLanes * sizeof(std::uint64_t))));
  const Lanes zero = {};
  const Lanes numbers = {0, 1, 2, 3, 4, 5, 6, 7};
  for (std::int64_t begin = 0; begin < count; begin += kLanes) {
    const Lanes position = numbers + (first + static_cast<std::uint64_t>(begin));
    Lanes c0 = position & kLow;
    Lanes c1 = position >> 32;
    Lanes c2 = zero + (stream & kLow);
    Lanes c3 = zero + (stream >> 32);
    std::uint64_t key0 = seed & kLow;
    std::uint64_t key1 = seed >> 32;
    for (int round = 0; round < 10; ++round) {
      const Lanes product0 = kMultiplier0 * c0;
      const Lanes product1 = kMultiplier1 * c2;
      c0 = (product1 >> 32) ^ c1 ^ key0;
      c1 = product1 & kLow;
      c2 = (product0 >> 32) ^ c3 ^ key1;
      c3 = product0 & kLow;
      key0 = (key0 + kWeyl0) & kLow;
      key1 = (key1 + kWeyl1) & kLow;
    }
    const std::int64_t lanes = std::min(kLanes, count - begin);
    std::uint32_t* to = out + begin;
    for (std::int64_t i = 0; i < lanes; ++i) {
      to[i] = static_cast<std::uint32_t>(c0[i]);
      to[count + i] = static_cast<std::uint32_t>(c1[i]);
      to[2 * count + i] = static_cast<std::uint32_t>(c2[i]);
      to[3 * count + i] = static_cast<std::uint32_t>(c3[i]);
    }
  }
}

std::uint64_t Philox::bits(std::uint64_t position) const {
  const auto words = block(seed_, stream_, position);
  return (static_cast<std::uint64_t>(words[1]) << 32) | words[0];
}

double Philox::uniform(std::uint64_t position) const { return to_unit(bits(position)); }

double Philox::normal(std::uint64_t position) const {
  const auto words = block(seed_, stream_, position);
  const double u1 =
      1.0 - to_unit((static_cast<std::uint64_t>(words[1]) << 32) | words[0]);  // in (0, 1]
  const double u2 = to_unit((static_cast<std::uint64_t>(words[3]) << 32) | words[2]);
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2);
}

std::uint64_t Philox::below(std::uint64_t position, std::uint64_t bound) const {
  GM_ASSERT(bound > 0);
  // The high half of the product instead of a remainder (Lemire 2019, arXiv 1805.10941): no
  // division.
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(bits(position)) * bound) >> 64);
}

std::uint64_t stream_id(std::string_view name) {
  // FNV-1a's offset and prime.
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash;
}

std::uint64_t permuted_index(std::uint64_t index, std::uint64_t size, std::uint64_t seed,
                             std::uint64_t stream) {
  GM_ASSERT(index < size);
  // Both halves of the network need as many bits, so it permutes up to four times `size` numbers:
  // four walks a value on average at the most.
  const int half_bits = (std::max(2, static_cast<int>(std::bit_width(size - 1))) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  std::uint64_t value = index;
  do {  // the network permutes [0, 4^half_bits); walk until the value falls inside [0, size)
    std::uint64_t left = value >> half_bits;
    std::uint64_t right = value & mask;
    // Four rounds of random functions make a permutation that cannot be told from a random one
    // (Luby and Rackoff 1988).
    for (std::uint32_t round = 0; round < 4; ++round) {
      const auto words = philox4x32(
          {static_cast<std::uint32_t>(right), static_cast<std::uint32_t>(right >> 32), round,
           static_cast<std::uint32_t>(stream)},
          {static_cast<std::uint32_t>(seed),
           static_cast<std::uint32_t>(seed >> 32) ^ static_cast<std::uint32_t>(stream >> 32)});
      const std::uint64_t mixed = ((static_cast<std::uint64_t>(words[1]) << 32) | words[0]) & mask;
      const std::uint64_t next_right = left ^ mixed;
      left = right;
      right = next_right;
    }
    value = (left << half_bits) | right;
  } while (value >= size);
  return value;
}

}  // namespace growmerge
