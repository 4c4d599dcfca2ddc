#include "core/tokenizer/precompiled.h"

#include <cstring>

#include "core/base/error.h"

namespace growmerge::tok {
namespace {

// One unit of darts-clone's array.
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1U) != 0; }
std::uint32_t value(std::uint32_t unit) { return unit & 0x7FFFFFFFU; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FFU; }
std::uint32_t offset(std::uint32_t unit) { return unit >> 10 << ((unit & 1U << 9) >> 6); }

}  // namespace

Precompiled::Precompiled(std::string_view bytes) {
  std::uint32_t size = 0;
  GM_CHECK(bytes.size() >= sizeof(size), kCorrupt, "precompiled_charsmap: ", bytes.size(),
           " bytes, expected at least 4");
  std::memcpy(&size, bytes.data(), sizeof(size));
  bytes.remove_prefix(sizeof(size));
  GM_CHECK(size >= 4 && size % 4 == 0 && size <= bytes.size(), kCorrupt,
           "precompiled_charsmap: its trie is said to have ", size, " bytes, of ", bytes.size());
  units_.resize(size / 4);
  std::memcpy(units_.data(), bytes.data(), size);
  texts_ = bytes.substr(size);
  for (std::size_t c = 0; c < kept_.size(); ++c) {
    const char character = static_cast<char>(c);
    // A carriage return may be one cluster with what follows.
    kept_[c] = character != '\r' && !replacement({&character, 1});
  }
}

std::optional<std::string_view> Precompiled::replacement(std::string_view chunk) const {
  std::uint32_t at = offset(units_[0]);
  for (const char c : chunk) {
    const auto byte = static_cast<unsigned char>(c);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label(units_[at]) != byte) {
      return std::nullopt;
    }
    const std::uint32_t unit = units_[at];
    at ^= offset(unit);
    if (has_leaf(unit) && at < units_.size()) {
      const std::uint32_t begin = value(units_[at]);
      GM_CHECK(begin <= texts_.size(), kCorrupt, "precompiled_charsmap: text at byte ", begin,
               " of ", texts_.size());
      const std::size_t end = texts_.find('\0', begin);
      return std::string_view(texts_).substr(
          begin, end == std::string::npos ? std::string::npos : end - begin);
    }
  }
  return std::nullopt;
}

std::string decode_base64(std::string_view text) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve(text.size() / 4 * 3);
  while (text.ends_with('=')) {
    text.remove_suffix(1);
  }
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    GM_CHECK(digit != std::string_view::npos, kCorrupt, "precompiled_charsmap: '", c,
             "' is no character of base64");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xFF);
    }
  }
  return out;
}

}  // namespace growmerge::tok
