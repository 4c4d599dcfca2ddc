// Hand-written scanners for the pre-tokenizers in wide use: the same words as their regular
// expressions, many times faster.
//
//   GPT-2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//   cl100k   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//            ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+       (also Llama 3; Qwen: \p{N})
//
// With `isolate_digits` (the pre-tokenizer Digits in front of GPT-2's) every numeric character is a
// word, and the text between two is scanned on its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/spec.h"

namespace growmerge::tok {

extern const char* const kGpt2Pattern;

class Scanner {
 public:
  /// A scanner for this list of pre-tokenizers, where there is one.
  [[nodiscard]] static std::optional<Scanner> for_pre_tokenizers(
      const std::vector<PreTokenizerSpec>& specs);

  /// End of the word that starts at `begin` < text.size() of valid UTF-8.
  [[nodiscard]] std::size_t word_end(std::string_view text, std::size_t begin) const {
    return is_gpt2_ ? gpt2_end(text, begin) : cl100k_end(text, begin);
  }

 private:
  enum Class : std::uint8_t { kLetter, kNumber, kSpace, kOther, kDigit, kNotAscii };
  Scanner(bool is_gpt2, bool isolate_digits, int max_digits);
  [[nodiscard]] Class class_at(std::string_view text, std::size_t at, std::size_t* length) const;
  [[nodiscard]] std::size_t run_end(std::string_view text, std::size_t at, Class wanted) const;
  [[nodiscard]] std::size_t space_end(std::string_view text, std::size_t begin,
                                      bool newlines_first) const;
  [[nodiscard]] std::size_t gpt2_end(std::string_view text, std::size_t begin) const;
  [[nodiscard]] std::size_t cl100k_end(std::string_view text, std::size_t begin) const;

  bool is_gpt2_;
  int max_digits_;
  std::array<Class, 256> bytes_{};                  // kNotAscii from 0x80 on
  std::vector<std::uint8_t> pages_;                 // classes of 256 code points each
  std::array<std::uint16_t, 0x1100> page_index_{};  // of a code point's page
};

}  // namespace growmerge::tok
