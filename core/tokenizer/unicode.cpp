#include "core/tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "core/tokenizer/page_table.h"

namespace growmerge::tok {
namespace {

constexpr TableRow kRows[] = {
#include "core/tokenizer/char_table.inc"
};

// In the order in which generate_char_table.py numbers them.
constexpr std::array<const char*, 29> kCategories = {
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cn"};

/// Length of the valid character at p, or 0; *bad_length becomes the length of the invalid part.
std::size_t valid_length(const unsigned char* p, std::size_t left, std::size_t* bad_length) {
  const unsigned char c = p[0];
  *bad_length = 1;
  if (c < 0x80) {
    return 1;
  }
  if (c < 0xC2 || c > 0xF4) {
    return 0;
  }
  // 0xC0, 0xC1 and what is above 0xF4 begin nothing. The second byte's bounds shut out overlong
  // forms (E0, F0), surrogates (ED) and what is beyond U+10FFFF (F4).
  const std::size_t length = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  const unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < length; ++i) {
    const bool ok = i < left && (i == 1 ? p[1] >= low && p[1] <= high : (p[i] & 0xC0) == 0x80);
    if (!ok) {
      *bad_length = i;
      return 0;
    }
  }
  return length;
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const std::size_t n = text.size();
  std::size_t i = 0;
  while (i < n) {
    // Eight ASCII bytes at a time: no one's highest bit is set.
    while (i + 8 <= n) {
      std::uint64_t block = 0;
      std::memcpy(&block, p + i, 8);
      if ((block & 0x8080808080808080ULL) != 0) {
        break;
      }
      i += 8;
    }
    if (i >= n) {
      break;
    }
    std::size_t bad = 0;
    const std::size_t length = valid_length(p + i, n - i, &bad);
    if (length == 0) {
      return i;
    }
    i += length;
  }
  return std::nullopt;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  if (!find_invalid_utf8(bytes)) {
    return std::string(bytes);
  }
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t bad = 0;
    const std::size_t length = valid_length(p + i, bytes.size() - i, &bad);
    if (length == 0) {
      // One U+FFFD for each longest part that could have begun a character, as Rust's strings do
      // it.
      out += "\xEF\xBF\xBD";
      i += bad;
    } else {
      out.append(bytes, i, length);
      i += length;
    }
  }
  return out;
}

void append_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

CharInfo char_info(std::uint32_t code_point) {
  // Made once, by the first thread that asks.
  static const PageTable table(kRows);
  return CharInfo{table[code_point]};
}

const char* category_name(std::uint32_t category) { return kCategories[category]; }

CodePointSet set_where(const std::function<bool(CharInfo)>& predicate) {
  std::vector<CodePointRange> ranges;
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    if (predicate(CharInfo{kRows[i].value})) {
      const std::uint32_t end = i + 1 < std::size(kRows) ? kRows[i + 1].first : 0x110000;
      ranges.push_back({kRows[i].first, end - 1});
    }
  }
  return CodePointSet(std::move(ranges));
}

}  // namespace growmerge::tok
