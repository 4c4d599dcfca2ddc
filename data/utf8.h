// UTF-8: validity and length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace growmerge::data {

/// Offset of the first byte that is not valid UTF-8 (Unicode 15, table 3-7: no overlong forms, no
/// surrogates, nothing over U+10FFFF), or nothing.
[[nodiscard]] std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Code points of valid UTF-8.
[[nodiscard]] std::uint64_t count_code_points(std::string_view text);

}  // namespace growmerge::data
