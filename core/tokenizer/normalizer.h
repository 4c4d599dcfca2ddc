// Normalizers: text to text, before anything is split.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/pattern.h"
#include "core/tokenizer/spec.h"

namespace growmerge::tok {

class Normalizer {
 public:
  explicit Normalizer(const std::vector<NormalizerSpec>& specs);

  /// The normalized text: `text` itself where nothing changes, else kept in `buffer`.
  [[nodiscard]] std::string_view normalize(std::string_view text, std::string& buffer) const;

 private:
  struct Step {
    NormalizerSpec spec;
    std::optional<Pattern> pattern;
  };
  std::vector<Step> steps_;
};

/// `text` with every occurrence of a literal replaced.
[[nodiscard]] std::string replace_literal(std::string_view text, std::string_view literal,
                                          std::string_view content);
/// `text` with every match replaced.
[[nodiscard]] std::string replace_matches(std::string_view text, const Pattern& pattern,
                                          std::string_view content);

}  // namespace growmerge::tok
