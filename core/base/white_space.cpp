#include "core/base/white_space.h"

#include <algorithm>
#include <cstddef>

namespace growmerge {
namespace {

/// Length in bytes of the white space at text[i], or 0.
std::size_t white_space(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) {
    return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0;
  };
  const unsigned a = byte(0);
  if (a < 0x80) {  // most text: nothing further is looked at
    return a == ' ' || (a >= 0x09 && a <= 0x0D) || (a >= 0x1C && a <= 0x1F) ? 1 : 0;
  }
  const unsigned b = byte(1);
  if (a == 0xC2 && (b == 0x85 || b == 0xA0)) {
    return 2;
  }
  const unsigned c = byte(2);
  const bool in_2000 =
      a == 0xE2 && b == 0x80 && ((c >= 0x80 && c <= 0x8A) || c == 0xA8 || c == 0xA9 || c == 0xAF);
  const bool other = (a == 0xE1 && b == 0x9A && c == 0x80) ||
                     (a == 0xE2 && b == 0x81 && c == 0x9F) || (a == 0xE3 && b == 0x80 && c == 0x80);
  return in_2000 || other ? 3 : 0;
}

}  // namespace

std::int64_t count_words(std::string_view text) {
  std::int64_t count = 0;
  bool inside = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t space = white_space(text, i);
    count += space == 0 && !inside ? 1 : 0;
    inside = space == 0;
    i += space == 0 ? 1 : space;
  }
  return count;
}

std::string_view strip(std::string_view text) {
  std::size_t begin = text.size();
  std::size_t end = text.size();
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t space = white_space(text, i);
    if (space == 0) {
      begin = std::min(begin, i);
      end = ++i;
    } else {
      i += space;
    }
  }
  return text.substr(begin, end - begin);
}

}  // namespace growmerge
