// Added tokens: found in the text before it is split or merged, the leftmost first and the longest
// of those that start at one place.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/spec.h"

namespace growmerge::tok {

class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  /// Tokens with the texts by which they are found (normalized where the token says so).
  AddedTokenMatcher(std::vector<AddedTokenSpec> tokens, const std::vector<std::string>& texts);

  struct Piece {
    std::string_view text;
    std::int32_t id = -1;  // -1: plain text
  };
  /// Cuts `text` into plain pieces and added tokens, in order; nothing of it is lost, but spaces
  /// that a token strips.
  void split(std::string_view text, const std::function<void(const Piece&)>& fn) const;
  [[nodiscard]] bool empty() const { return tokens_.empty(); }

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::int32_t>> next;
    std::int32_t token = -1;  // index into tokens_
  };
  [[nodiscard]] std::int32_t longest_at(std::string_view text, std::size_t at,
                                        std::size_t* length) const;
  std::vector<AddedTokenSpec> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> first_{};
};

}  // namespace growmerge::tok
