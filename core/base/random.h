// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
// easy as 1, 2, 3").
//
// A number is a pure function of (seed, stream, position). Nothing depends on call order, threads
// or ranks, so data order, noise and sampling are the same for any world size.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace growmerge {

/// The raw block function: 4 x 32 random bits for a 128-bit counter and a 64-bit key.
[[nodiscard]] std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                      std::array<std::uint32_t, 2> key);

/// `count` such blocks at once, on the vector unit: those of counters {position, position >> 32,
/// stream, stream >> 32} from `first` on, under the key of `seed`, as Philox uses them. Word w of
/// block first + i goes to out[w * count + i].
void philox_fill(std::uint64_t seed, std::uint64_t stream, std::uint64_t first, std::int64_t count,
                 std::uint32_t* out);

class Philox {
 public:
  /// `stream` separates uses of one seed; take stream_id("...") of a name.
  Philox(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  /// 64 random bits at `position`.
  [[nodiscard]] std::uint64_t bits(std::uint64_t position) const;
  /// Uniform in [0, 1), 53 bits.
  [[nodiscard]] double uniform(std::uint64_t position) const;
  /// Standard normal (Box-Muller on the two halves of one block).
  [[nodiscard]] double normal(std::uint64_t position) const;
  /// Uniform whole number in [0, bound), without modulo bias beyond 2^-64 * bound.
  [[nodiscard]] std::uint64_t below(std::uint64_t position, std::uint64_t bound) const;

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
};

/// 64-bit FNV-1a of a name, to be used as a stream.
[[nodiscard]] std::uint64_t stream_id(std::string_view name);

/// A seeded permutation of [0, size) evaluated point by point: a 4-round Feistel network with cycle
/// walking. O(1) memory.
[[nodiscard]] std::uint64_t permuted_index(std::uint64_t index, std::uint64_t size,
                                           std::uint64_t seed, std::uint64_t stream);

}  // namespace growmerge
