// Merges of a BPE model: (left id, right id) -> (rank, merged id), in one flat hash table.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace growmerge::tok {

struct Merge {
  static constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
  std::int32_t rank = kNone;
  std::int32_t id = 0;
};

class MergeTable {
 public:
  explicit MergeTable(std::size_t num_merges = 0) {
    std::size_t size = 16;
    while (size < 3 * num_merges) {
      size *= 2;
    }
    slots_.resize(size);
    mask_ = size - 1;
  }
  /// A pair that is there already gets the new merge.
  void insert(std::int32_t left, std::int32_t right, Merge merge) {
    const std::uint64_t pair = key(left, right);
    std::size_t i = hash(pair);
    while (slots_[i].merge.rank != Merge::kNone && slots_[i].key != pair) {
      i = (i + 1) & mask_;
    }
    slots_[i] = {pair, merge};
  }
  /// The pair's merge, rank kNone when it has none.
  [[nodiscard]] Merge find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t pair = key(left, right);
    for (std::size_t i = hash(pair);; i = (i + 1) & mask_) {
      if (slots_[i].key == pair || slots_[i].merge.rank == Merge::kNone) {
        return slots_[i].merge;
      }
    }
  }

 private:
  struct Slot {
    std::uint64_t key = ~std::uint64_t{0};
    Merge merge;
  };
  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }
  [[nodiscard]] std::size_t hash(std::uint64_t pair) const {
    return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15ULL) >> 24) & mask_;
  }
  std::vector<Slot> slots_;
  std::size_t mask_;
};

}  // namespace growmerge::tok
