// tokenizer.json from its text.
#pragma once

#include <string>
#include <string_view>

#include "core/tokenizer/json_fields.h"

namespace growmerge::tok {

/// Errors: kCorrupt with the place of what is no JSON.
[[nodiscard]] Json parse_json_text(const std::string& text);

/// A JSON number as the `tokenizers` package reads it: its digits as a whole number, once rounded,
/// multiplied or divided by a power of ten, and rounded again. It may be an ulp or two from the
/// nearest double, which decides ties between segmentations of a Unigram model.
///
/// Source: serde_json, src/de.rs, f64_from_parts without the feature float_roundtrip.
[[nodiscard]] double double_of_digits(std::string_view digits);

}  // namespace growmerge::tok
