// Words that were merged before, with their ids: a fixed table of one cache line a word, two places
// for each hash, so that a word costs one look and nothing is ever allocated. Not thread-safe: each
// thread has its own.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace growmerge::tok {

class WordCache {
 public:
  static constexpr std::size_t kMaxBytes = 23;
  static constexpr std::size_t kMaxIds = 9;

  struct alignas(64) Slot {
    std::array<std::uint64_t, 3> word;  // zero-padded, length in the last byte
    std::array<std::int32_t, kMaxIds> ids;
    std::uint32_t num_ids;
  };
  static_assert(sizeof(Slot) == 64);
  static_assert(std::endian::native == std::endian::little);

  WordCache() : slots_(kSlots) {}  // zero is the empty word, which is never looked for

  using Key = std::array<std::uint64_t, 3>;
  /// The word must have 1 to kMaxBytes bytes.
  [[nodiscard]] static Key make_key(std::string_view word) {
    // Loads that overlap instead of a copy of unknown length.
    const char* p = word.data();
    const std::size_t n = word.size();
    Key key{0, 0, static_cast<std::uint64_t>(n) << 56};
    if (n >= 16) {
      key[0] = load<std::uint64_t>(p);
      key[1] = load<std::uint64_t>(p + 8);
      key[2] |= n == 16 ? 0 : load<std::uint64_t>(p + n - 8) >> 8 * (24 - n);
    } else if (n >= 8) {
      key[0] = load<std::uint64_t>(p);
      key[1] = n == 8 ? 0 : load<std::uint64_t>(p + n - 8) >> 8 * (16 - n);
    } else if (n >= 4) {
      key[0] = load<std::uint32_t>(p) | static_cast<std::uint64_t>(load<std::uint32_t>(p + n - 4))
                                            << 8 * (n - 4);
    } else {
      for (std::size_t i = 0; i < n; ++i) {
        key[0] |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << 8 * i;
      }
    }
    return key;
  }
  /// The word's slot, or nullptr.
  [[nodiscard]] const Slot* find(const Key& key) const {
    const std::size_t i = place(key);
    if (equal(slots_[i].word, key)) {
      return &slots_[i];
    }
    return equal(slots_[i ^ 1].word, key) ? &slots_[i ^ 1] : nullptr;
  }
  /// Remembers a word of at most kMaxIds ids; the older of the two at its place stays.
  void insert(const Key& key, const std::int32_t* ids, std::size_t num_ids) {
    const std::size_t i = place(key);
    slots_[i ^ 1] = slots_[i];
    slots_[i].word = key;
    std::copy(ids, ids + num_ids, slots_[i].ids.begin());
    slots_[i].num_ids = static_cast<std::uint32_t>(num_ids);
  }

 private:
  static constexpr std::size_t kSlots = std::size_t{1} << 16;
  [[nodiscard]] static bool equal(const Key& a, const Key& b) {  // operator== calls memcmp
    return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2])) == 0;
  }
  template <class T>
  [[nodiscard]] static T load(const char* p) {
    T value;
    std::memcpy(&value, p, sizeof(T));
    return value;
  }
  [[nodiscard]] static std::size_t place(const Key& key) {
    std::uint64_t h = key[0] * 0x9E3779B97F4A7C15ULL;
    h = (h ^ h >> 32 ^ key[1]) * 0xC2B2AE3D27D4EB4FULL;
    h = (h ^ h >> 32 ^ key[2]) * 0x165667B19E3779F9ULL;
    return static_cast<std::size_t>(h >> 40) & (kSlots - 1);
  }
  std::vector<Slot> slots_;
};

}  // namespace growmerge::tok
