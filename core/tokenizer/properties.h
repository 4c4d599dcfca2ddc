// Named properties of characters, as patterns name them: general categories, scripts, POSIX classes
// and a few more, each in the Unicode version of the `tokenizers` package's Oniguruma.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/tokenizer/code_point_set.h"

namespace growmerge::tok {

/// What \p{name} stands for; nothing when there is no such name. Case, blanks, '-' and '_' do not
/// count.
[[nodiscard]] std::optional<CodePointSet> property_set(std::string_view name);
/// What [:name:] stands for inside a class.
[[nodiscard]] std::optional<CodePointSet> posix_set(std::string_view name);

/// The same outside of a class. Oniguruma has another table there for "word" (\w, and what \b tells
/// apart), in which the superscripts and fractions of Latin-1 count.
[[nodiscard]] std::optional<CodePointSet> lone_property_set(std::string_view name);

/// Marks that the normalizer StripAccents takes away.
[[nodiscard]] bool is_combining_mark(std::uint32_t code_point);
/// The lower case of a character; U+0130 gives its first part, which U+0307 follows.
[[nodiscard]] std::uint32_t lower_case(std::uint32_t code_point);

}  // namespace growmerge::tok
