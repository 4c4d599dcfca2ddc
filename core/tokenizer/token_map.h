// Tokens by their text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace growmerge::tok {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using TokenMap = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

/// Ids of the byte tokens <0x00> to <0xFF>, -1 where there is none.
[[nodiscard]] std::array<std::int32_t, 256> byte_token_ids(const TokenMap& vocab);
/// The byte that <0xNN> stands for, -1 where the token is no such.
[[nodiscard]] int byte_of_token(std::string_view token);

}  // namespace growmerge::tok
