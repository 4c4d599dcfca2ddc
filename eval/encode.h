// Encoding many texts, on all threads and ranks, and counting what lengths are measured in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/tokenizer/tokenizer.h"

namespace growmerge::eval {

/// Token ids of a text that is scored, and how many of them only lead up to
/// what is scored.
struct EncodedText {
  std::vector<std::int32_t> ids{};
  std::int64_t context = 0;
};
using EncodedTexts = std::vector<EncodedText>;

/// Ids of each text, with the special tokens that the tokenizer adds where `add_special` says so,
/// the same on every rank. Collective. Errors: the tokenizer's, with name_of(text) in front.
[[nodiscard]] EncodedTexts encode_all(const Tokenizer& tokenizer,
                                      const std::vector<std::string_view>& texts,
                                      const std::function<std::string(std::int64_t)>& name_of,
                                      Communicator& comm, bool add_special = false);

/// Unicode code points of valid UTF-8.
[[nodiscard]] std::int64_t count_characters(std::string_view text);
/// The first `count` code points.
[[nodiscard]] std::string_view first_characters(std::string_view text, std::int64_t count);

}  // namespace growmerge::eval
