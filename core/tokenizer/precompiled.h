// SentencePiece's normalization rules as T5, XLM-R and mT5 carry them (`precompiled_charsmap`): a
// double-array trie of texts, and what each becomes.
//
// Source: SentencePiece, src/normalizer.cc; the trie is that of darts-clone. As in the `tokenizers`
// package, a grapheme cluster of fewer than 6 bytes that begins with a text of the trie becomes
// what the shortest such text becomes; the rest goes character by character.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace growmerge::tok {

class Precompiled {
 public:
  /// Errors: kCorrupt where the bytes are no such rules.
  explicit Precompiled(std::string_view bytes);

  /// What a cluster or character becomes; nothing where it stays as it is.
  [[nodiscard]] std::optional<std::string_view> replacement(std::string_view chunk) const;
  /// Whether the ASCII character stays as it is, when ASCII follows.
  [[nodiscard]] bool keeps_ascii(char c) const {
    return static_cast<unsigned char>(c) < 0x80 && kept_[static_cast<unsigned char>(c)];
  }

 private:
  std::vector<std::uint32_t> units_;
  std::string texts_;  // each ends with a zero
  std::array<bool, 128> kept_{};
};

/// Errors: kCorrupt naming what is no base64.
[[nodiscard]] std::string decode_base64(std::string_view text);

}  // namespace growmerge::tok
