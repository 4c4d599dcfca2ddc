// Which part of a word each of its tokens stands for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tokenizer/tokenizer.h"
#include "core/tokenizer/traced_text.h"

namespace growmerge::tok {

/// Appends the tokens of a word (`ids`, as the model gave them) with what they stand for, found by
/// laying their texts along the word. `byte_level`: the texts are in GPT-2's alphabet. An unknown
/// token stands for all up to the next token. `base` is added to every place.
void append_spans(const TracedText& word, const std::vector<std::int32_t>& ids,
                  const std::vector<std::string>& tokens, bool byte_level, std::int32_t unknown_id,
                  std::uint32_t base, std::vector<TokenSpan>& out);

}  // namespace growmerge::tok
