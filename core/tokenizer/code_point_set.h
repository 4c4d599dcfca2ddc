// A set of code points, for the classes of patterns. Surrogates are in no text, so whether a set
// holds them means nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace growmerge::tok {

struct CodePointRange {
  std::uint32_t first;
  std::uint32_t last;
};

class CodePointSet {
 public:
  CodePointSet() = default;
  /// Ranges in any order; they may overlap.
  explicit CodePointSet(std::vector<CodePointRange> ranges);
  [[nodiscard]] static CodePointSet of(std::uint32_t first, std::uint32_t last);

  [[nodiscard]] CodePointSet complement() const;
  [[nodiscard]] CodePointSet united(const CodePointSet& other) const;
  [[nodiscard]] CodePointSet intersected(const CodePointSet& other) const;
  [[nodiscard]] bool contains(std::uint32_t code_point) const;
  [[nodiscard]] bool empty() const { return ranges_.empty(); }
  /// In rising order, with gaps between them.
  [[nodiscard]] const std::vector<CodePointRange>& ranges() const { return ranges_; }

 private:
  std::vector<CodePointRange> ranges_;
};

}  // namespace growmerge::tok
