#include "core/base/terminal_text.h"

#include <algorithm>
#include <cstdio>

namespace growmerge {
namespace {

/// Bytes of the UTF-8 sequence that begins with `lead`; 0 where none does.
std::size_t sequence_length(unsigned char lead) {
  return lead < 0x80                    ? 1
         : lead >= 0xC2 && lead <= 0xDF ? 2
         : lead >= 0xE0 && lead <= 0xEF ? 3
         : lead >= 0xF0 && lead <= 0xF4 ? 4
                                        : 0;
}

bool are_continuations(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; });
}

}  // namespace

std::string escape_controls(std::string_view text, std::string* unfinished) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = sequence_length(lead);
    const std::string_view rest = text.substr(i + 1, length == 0 ? 0 : length - 1);
    char code[8];
    if (length > 1 && rest.size() < length - 1 && are_continuations(rest) &&
        unfinished != nullptr) {
      *unfinished = text.substr(i);
      return out;
    }
    if (length == 0 || rest.size() < length - 1 || !are_continuations(rest) || lead == 0x7F ||
        (lead < 0x20 && lead != '\n' && lead != '\t')) {
      std::snprintf(code, sizeof code, "\\x%02x", lead);
      out += code;
      ++i;
    } else if (lead == 0xC2 && static_cast<unsigned char>(rest[0]) < 0xA0) {
      // U+0080 to U+009F: some terminals obey them as they do ESC.
      std::snprintf(code, sizeof code, "\\u00%02x", static_cast<unsigned char>(rest[0]));
      out += code;
      i += length;
    } else {
      out += text.substr(i, length);
      i += length;
    }
  }
  return out;
}

}  // namespace growmerge
