#include "core/tokenizer/token_map.h"

#include <cstdio>

namespace growmerge::tok {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}  // namespace

std::array<std::int32_t, 256> byte_token_ids(const TokenMap& vocab) {
  std::array<std::int32_t, 256> out{};
  for (std::size_t b = 0; b < out.size(); ++b) {
    std::array<char, 8> name{};
    std::snprintf(name.data(), name.size(), "<0x%02X>", static_cast<unsigned>(b));
    const auto it = vocab.find(std::string_view(name.data()));
    out[b] = it == vocab.end() ? -1 : it->second;
  }
  return out;
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') {
    return -1;
  }
  const int low = hex_digit(token[4]);
  const int high = token[3] == '+' ? 0 : hex_digit(token[3]);  // the package reads <0x+F>, too
  return low < 0 || high < 0 ? -1 : high << 4 | low;
}

}  // namespace growmerge::tok
