// Extended grapheme clusters, as the `tokenizers` package cuts them.
//
// Source: Unicode Standard Annex 29, rules GB3 to GB999.
#pragma once

#include <cstddef>
#include <string_view>

namespace growmerge::tok {

/// End of the cluster that starts at `begin` < text.size() of valid UTF-8.
[[nodiscard]] std::size_t grapheme_end(std::string_view text, std::size_t begin);

}  // namespace growmerge::tok
