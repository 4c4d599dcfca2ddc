// Byte-pair encoding of one word: its characters (or bytes) become symbols, and as long as two
// neighbours have a merge, the one of the lowest rank is done, the leftmost first.
//
// Source: Sennrich et al. 2016, arXiv:1508.07909; with byte fallback as in SentencePiece.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/byte_alphabet.h"
#include "core/tokenizer/encode_state.h"
#include "core/tokenizer/merge_table.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/token_map.h"

namespace growmerge::tok {

class Bpe {
 public:
  /// `byte_level`: words are bytes that the vocabulary spells in GPT-2's alphabet. `whole_text`:
  /// texts come unsplit. Errors: kCorrupt naming a merge or an unk_token that is not in the
  /// vocabulary.
  Bpe(const BpeSpec& spec, bool byte_level, bool whole_text);

  /// Appends the ids of a word, of any length.
  void encode(std::string_view word, EncodeState& state, std::vector<std::int32_t>& out) const;

  [[nodiscard]] std::optional<std::int32_t> token_to_id(std::string_view token) const;
  [[nodiscard]] std::int32_t unknown_id() const { return unk_id_; }
  [[nodiscard]] bool byte_fallback() const { return byte_fallback_; }

 private:
  void encode_cached(std::string_view word, EncodeState& state,
                     std::vector<std::int32_t>& out) const;
  void encode_new(std::string_view word, EncodeState& state, std::vector<std::int32_t>& out) const;
  /// The symbols of a word's bytes; false where one is not in the vocabulary.
  [[nodiscard]] bool add_byte_symbols(std::string_view word,
                                      std::vector<std::int32_t>& symbols) const;
  void add_character_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const;
  void merge_short(EncodeState& state, std::vector<std::int32_t>& out) const;
  void merge_long(EncodeState& state, std::vector<std::int32_t>& out) const;
  void find_separator();

  TokenMap vocab_;
  MergeTable merges_;
  ByteAlphabet alphabet_;
  bool byte_level_;
  bool byte_fallback_;
  bool fuse_unk_;
  bool ignore_merges_;
  std::int32_t unk_id_ = -1;
  std::array<std::int32_t, 256> byte_ids_{};      // of GPT-2's alphabet, -1: none
  std::array<std::int32_t, 256> fallback_ids_{};  // of <0x00> to <0xFF>, -1: none
  // No merge joins a character and a separator behind it, so that unsplit text may be cut there.
  bool can_cut_ = false;
};

}  // namespace growmerge::tok
