// White space and words as Python's str.split() and str.strip() know them, so that counts compare
// with those of other tools: ASCII white space, U+001C-001F and U+0085, U+00A0, U+1680,
// U+2000-200A, U+2028, U+2029, U+202F, U+205F, U+3000.
#pragma once

#include <cstdint>
#include <string_view>

namespace growmerge {

/// Pieces between runs of white space in valid UTF-8: len(text.split()).
[[nodiscard]] std::int64_t count_words(std::string_view text);
/// Without the white space at both ends: text.strip().
[[nodiscard]] std::string_view strip(std::string_view text);

}  // namespace growmerge
