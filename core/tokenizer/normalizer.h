// Normalizers: text to text, before anything is split.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/byte_alphabet.h"
#include "core/tokenizer/pattern.h"
#include "core/tokenizer/precompiled.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/traced_text.h"

namespace growmerge::tok {

class Normalizer {
 public:
  /// Errors: kCorrupt for broken precompiled rules, kUnsupported for a pattern.
  explicit Normalizer(const std::vector<NormalizerSpec>& specs);

  /// The normalized text: `text` itself where nothing changes, else kept in `buffer`.
  [[nodiscard]] std::string_view normalize(std::string_view text, std::string& buffer) const;
  /// The same, with where each byte came from. Slow.
  [[nodiscard]] TracedText normalize(TracedText text) const;
  /// Whether the normalized text begins with what the text begins with: the package counts a piece
  /// that lost its front as no text's start.
  [[nodiscard]] bool keeps_front(std::string_view text) const;

 private:
  struct Step {
    NormalizerSpec spec;
    std::optional<Pattern> pattern;
    std::optional<Precompiled> rules;
  };
  template <class Writer>
  void run_step(const Step& step, std::string_view text, Writer& out) const;

  std::vector<Step> steps_;
  ByteAlphabet alphabet_;
};

/// `text` with every occurrence of a literal replaced.
[[nodiscard]] std::string replace_literal(std::string_view text, std::string_view literal,
                                          std::string_view content);
/// `text` with every match replaced.
[[nodiscard]] std::string replace_matches(std::string_view text, const Pattern& pattern,
                                          std::string_view content);

}  // namespace growmerge::tok
