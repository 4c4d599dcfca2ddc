// Unigram language model over pieces: a word becomes the pieces whose scores (log-probabilities)
// have the greatest sum.
//
// Source: Kudo 2018, arXiv:1804.10959, section 3.2 (Viterbi); the order in which sums are formed
// and compared is that of the `tokenizers` package, so that ties and rounding fall alike.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "core/tokenizer/encode_state.h"
#include "core/tokenizer/piece_trie.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/token_map.h"

namespace growmerge::tok {

class Unigram {
 public:
  explicit Unigram(const UnigramSpec& spec);

  /// Appends the ids of a word, of any length. Characters that no piece holds become one unknown
  /// token a run, or the tokens of their bytes. Errors: kUnsupported where there is no unknown
  /// token for them.
  void encode(std::string_view word, EncodeState& state, std::vector<std::int32_t>& out) const;

  [[nodiscard]] std::optional<std::int32_t> token_to_id(std::string_view token) const;
  [[nodiscard]] std::int32_t unknown_id() const { return unk_id_; }
  [[nodiscard]] bool byte_fallback() const { return byte_fallback_; }

 private:
  void encode_new(std::string_view word, EncodeState& state, std::vector<std::int32_t>& out) const;
  void find_best_path(std::string_view word, std::vector<EncodeState::PathEnd>& path) const;
  void add_unknown(std::string_view part, std::vector<std::int32_t>& out) const;

  TokenMap ids_;
  PieceTrie trie_;
  std::vector<double> scores_;
  double unk_score_ = 0.0;
  std::int32_t unk_id_ = -1;  // -1: none
  bool byte_fallback_;
  std::array<std::int32_t, 256> fallback_ids_{};  // of <0x00> to <0xFF>, -1: none
};

}  // namespace growmerge::tok
