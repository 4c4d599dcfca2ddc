// A small number for every code point: pages of 256, equal neighbours stored once, so that a
// look-up is two loads.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace growmerge::tok {

/// The value holds from `first` up to the next row.
struct TableRow {
  std::uint32_t first;
  std::uint16_t value;
};

class PageTable {
 public:
  /// Rows in rising order; the first one starts at 0.
  explicit PageTable(std::span<const TableRow> rows) {
    std::size_t row = 0;
    std::array<std::uint16_t, 256> page{};
    for (std::uint32_t c = 0; c < kEnd; ++c) {
      while (row + 1 < rows.size() && rows[row + 1].first <= c) {
        ++row;
      }
      page[c & 255] = rows[row].value;
      // Compared with the last page alone: equal pages lie behind one another, in large blocks.
      if ((c & 255) == 255) {
        const bool again =
            !pages_.empty() && std::equal(page.begin(), page.end(), pages_.end() - 256);
        if (!again) {
          pages_.insert(pages_.end(), page.begin(), page.end());
        }
        index_[c >> 8] = static_cast<std::uint32_t>(pages_.size() - 256);
      }
    }
  }
  [[nodiscard]] std::uint16_t operator[](std::uint32_t c) const {
    return pages_[index_[c >> 8] + (c & 255)];
  }

 private:
  static constexpr std::uint32_t kEnd = 0x110000;
  std::array<std::uint32_t, (kEnd >> 8)> index_{};
  std::vector<std::uint16_t> pages_;
};

}  // namespace growmerge::tok
