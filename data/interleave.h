// Which source each row of a mixture comes from: a fixed, repeating pattern whose shares are exact.
//
// Method: shares are whole parts m_i of a period D. The j-th row of source i may stand in slots
// [floor(j D / m_i), ceil((j + 1) D / m_i)), and each slot goes to the waiting source with the
// earliest deadline (the "Pfair" windows of Baruah et al. 1996, "Proportionate progress").
// Property: among the first k rows, for any k, source i has between k m_i / D - 1 and k m_i / D + 1
// rows. Memory: 8 bytes a slot; D is at most 2^20.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace growmerge::data {

class Interleave {
 public:
  static constexpr std::int64_t kLargestPeriod = std::int64_t{1} << 20;

  /// Errors: kInvalidArgument for no parts, a negative part, or a sum of 0 or over kLargestPeriod.
  explicit Interleave(std::span<const std::int64_t> parts);
  /// Shares in any unit; they are normalised and rounded to parts of the smallest period up to 4096
  /// that fits them to 1e-9, else of kLargestPeriod. Errors: kInvalidArgument as above, or not
  /// finite.
  [[nodiscard]] static Interleave from_shares(std::span<const double> shares);

  struct Place {
    std::int32_t source = 0;
    std::int64_t index = 0;  // how many rows of this source stand before
  };
  [[nodiscard]] Place at(std::int64_t row) const;
  /// Rows of `source` among the first `rows`.
  [[nodiscard]] std::int64_t count(std::int32_t source, std::int64_t rows) const;
  [[nodiscard]] std::int64_t period() const { return static_cast<std::int64_t>(slots_.size()); }
  [[nodiscard]] const std::vector<std::int64_t>& parts() const { return parts_; }

 private:
  struct Slot {
    std::int32_t source = 0;
    std::int32_t index = 0;
  };
  std::vector<std::int64_t> parts_;
  std::vector<Slot> slots_;
};

}  // namespace growmerge::data
