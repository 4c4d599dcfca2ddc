// GPT-2's alphabet: each of the 256 bytes as a printable character, so that any bytes are text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace growmerge::tok {

class ByteAlphabet {
 public:
  ByteAlphabet();
  [[nodiscard]] const std::string& character(unsigned char byte) const { return text_[byte]; }
  /// The bytes as characters.
  [[nodiscard]] std::string encode(std::string_view bytes) const;
  /// Appends the bytes that the characters stand for; false, with nothing appended, when one
  /// stands for none.
  [[nodiscard]] bool decode(std::string_view text, std::string& out) const;

 private:
  std::array<std::string, 256> text_;
  std::array<std::int16_t, 512> byte_;  // of a code point, -1: none
};

}  // namespace growmerge::tok
