// Unicode's normal forms, in the version of Unicode that the `tokenizers` package knows.
#pragma once

#include <string>
#include <string_view>

#include "core/tokenizer/spec.h"

namespace growmerge::tok {

/// True where the form leaves the text as it is and that is quick to see.
[[nodiscard]] bool form_changes_nothing(std::string_view text, NormalizerSpec::Kind kind);
/// `kind` is kNfc, kNfd, kNfkc or kNfkd.
[[nodiscard]] std::string unicode_form(std::string_view text, NormalizerSpec::Kind kind);
/// Whether the form of a text may be put together from its forms before and from this character.
[[nodiscard]] bool form_begins(std::string_view character, NormalizerSpec::Kind kind);

}  // namespace growmerge::tok
