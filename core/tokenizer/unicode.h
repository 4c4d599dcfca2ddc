// UTF-8, and the properties of characters as the `tokenizers` package sees them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/tokenizer/code_point_set.h"

namespace growmerge::tok {

/// Offset of the first byte that is not valid UTF-8, or nothing.
[[nodiscard]] std::optional<std::size_t> find_invalid_utf8(std::string_view text);
/// The text with every maximal invalid part replaced by U+FFFD (as Rust's from_utf8_lossy).
[[nodiscard]] std::string replace_invalid_utf8(std::string_view bytes);
void append_utf8(std::string& out, std::uint32_t code_point);

/// Bytes of the character that starts with this byte of valid UTF-8.
[[nodiscard]] inline std::size_t utf8_length(char first) {
  const auto c = static_cast<unsigned char>(first);
  return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/// The character at p of valid UTF-8; *length becomes its bytes.
[[nodiscard]] inline std::uint32_t decode_utf8(const char* p, std::size_t* length) {
  const auto byte = [p](int i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(p[i]));
  };
  const std::uint32_t c = byte(0);
  if (c < 0x80) {
    *length = 1;
    return c;
  }
  if (c < 0xE0) {
    *length = 2;
    return (c & 0x1F) << 6 | (byte(1) & 0x3F);
  }
  if (c < 0xF0) {
    *length = 3;
    return (c & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  }
  *length = 4;
  return (c & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

/// Start of the character that ends before p.
[[nodiscard]] inline std::size_t previous_character(std::string_view text, std::size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

/// Properties of one character, from char_table.inc.
struct CharInfo {
  std::uint16_t bits = 0;
  [[nodiscard]] std::uint32_t category() const { return bits & 31U; }         // of category_name()
  [[nodiscard]] bool pattern_space() const { return (bits & 1U << 5) != 0; }  // \s of patterns
  [[nodiscard]] bool white_space() const { return (bits & 1U << 6) != 0; }
  [[nodiscard]] bool numeric() const { return (bits & 1U << 7) != 0; }
  [[nodiscard]] bool word() const { return (bits & 1U << 8) != 0; }
  [[nodiscard]] bool punctuation() const { return (bits & 1U << 9) != 0; }
  [[nodiscard]] bool nfc_unsafe() const { return (bits & 1U << 10) != 0; }
  /// Inert in normal forms, though newer versions of Unicode give it a combining class.
  [[nodiscard]] bool normalization_unknown() const { return (bits & 1U << 11) != 0; }
  [[nodiscard]] bool pattern_word() const { return (bits & 1U << 12) != 0; }  // \w of patterns
  [[nodiscard]] bool alphabetic() const { return (bits & 1U << 13) != 0; }
  [[nodiscard]] bool lowercase() const { return (bits & 1U << 14) != 0; }
  [[nodiscard]] bool uppercase() const { return (bits & 1U << 15) != 0; }
  [[nodiscard]] bool letter() const { return category() <= 4; }
  [[nodiscard]] bool number() const { return category() >= 8 && category() <= 10; }
};

[[nodiscard]] CharInfo char_info(std::uint32_t code_point);

/// "Lu", ... of CharInfo::category().
[[nodiscard]] const char* category_name(std::uint32_t category);
/// All characters whose properties satisfy the predicate.
[[nodiscard]] CodePointSet set_where(const std::function<bool(CharInfo)>& predicate);

}  // namespace growmerge::tok
