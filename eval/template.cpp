#include "eval/template.h"

#include "core/base/error.h"
#include "core/base/white_space.h"
#include "core/tokenizer/unicode.h"
#include "eval/encode.h"

namespace growmerge::eval {
namespace {

/// Pairs of an even capital and the odd small letter behind it, or the reverse.
bool alternates(std::uint32_t c, bool* even_is_capital) {
  *even_is_capital =
      !((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E) || (c >= 0x4C1 && c <= 0x4CE) ||
        (c >= 0x1AF && c <= 0x1B0) || (c >= 0x1CD && c <= 0x1DC));
  return (c >= 0x100 && c <= 0x12F) || (c >= 0x132 && c <= 0x137) || (c >= 0x139 && c <= 0x148) ||
         (c >= 0x14A && c <= 0x177) || (c >= 0x179 && c <= 0x17E) || (c >= 0x1A0 && c <= 0x1A5) ||
         (c >= 0x1AF && c <= 0x1B0) || (c >= 0x1CD && c <= 0x1DC) || (c >= 0x1DE && c <= 0x1EF) ||
         (c >= 0x1F8 && c <= 0x21F) || (c >= 0x222 && c <= 0x233) || (c >= 0x460 && c <= 0x481) ||
         (c >= 0x48A && c <= 0x4BF) || (c >= 0x4C1 && c <= 0x4CE) || (c >= 0x4D0 && c <= 0x52F) ||
         (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF);
}

/// Blocks whose small letters stand at one distance behind their capitals.
struct CaseBlock {
  std::uint32_t first;
  std::uint32_t last;
  std::uint32_t distance;
};
// Latin, Latin-1 (without the signs of multiplication and division), Greek, Cyrillic, Armenian,
// schwa.
constexpr CaseBlock kBlocks[] = {
    {'A', 'Z', 32},      {0xC0, 0xD6, 32},   {0xD8, 0xDE, 32},   {0x388, 0x38A, 37},
    {0x391, 0x3A1, 32},  {0x3A3, 0x3AB, 32}, {0x400, 0x40F, 80}, {0x410, 0x42F, 32},
    {0x531, 0x556, 48},  {0x386, 0x386, 38}, {0x38C, 0x38C, 64}, {0x38E, 0x38F, 63},
    {0x18F, 0x18F, 202},
};

std::uint32_t lower(std::uint32_t c) {
  for (const CaseBlock& block : kBlocks) {
    if (c >= block.first && c <= block.last) {
      return c + block.distance;
    }
  }
  // Y with diaeresis and the sharp s stand far from their other case.
  if (c == 0x178) {
    return 0xFF;
  }
  if (c == 0x1E9E) {
    return 0xDF;
  }
  bool even_is_capital = true;
  // The neighbours elsewhere in Latin and Cyrillic.
  const bool capital = alternates(c, &even_is_capital) && (c % 2 == 0) == even_is_capital;
  return capital ? c + 1 : c;
}

std::uint32_t upper(std::uint32_t c) {
  for (const CaseBlock& block : kBlocks) {
    if (c >= block.first + block.distance && c <= block.last + block.distance && c != 0x3C2) {
      return c - block.distance;
    }
  }
  if (c == 0xFF) {
    return 0x178;
  }
  if (c == 0x131) {  // the dotless i is a small letter of its own
    return 'I';
  }
  bool even_is_capital = true;
  const bool small = alternates(c, &even_is_capital) && (c % 2 == 0) != even_is_capital;
  return small ? c - 1 : c;
}

/// The text with each character replaced by change(character, whether it is the first).
template <class Change>
std::string map_characters(const std::string& text, Change change) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    const std::uint32_t c = tok::decode_utf8(text.data() + i, &length);
    tok::append_utf8(out, change(c, i == 0));
    i += length;
  }
  return out;
}

std::string replace_all(const std::string& text, const std::string& from, const std::string& to) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t found = text.find(from); found != std::string::npos;
       found = text.find(from, at)) {
    out += text.substr(at, found - at) + to;
    at = found + from.size();
  }
  return out + text.substr(at);
}

}  // namespace

Template::Template(const std::string& text) {
  std::size_t at = 0;
  for (std::size_t open = text.find("{{"); open != std::string::npos; open = text.find("{{", at)) {
    // Braces do not nest, so the nearest pair ends the column.
    const std::size_t close = text.find("}}", open);
    GM_CHECK(close != std::string::npos, kInvalidArgument, "template '", text,
             "': a {{ has no }} behind it");
    Part part{text.substr(at, open - at), "", {}};
    const std::string inside = text.substr(open + 2, close - open - 2);
    std::size_t begin = 0;
    for (std::size_t bar = inside.find('|');; bar = inside.find('|', begin)) {
      const std::string word = inside.substr(begin, bar - begin);
      if (begin == 0) {
        part.column = word;
      } else {
        // Tried on a text once, so that an unknown filter is found here and not at the first row.
        with_context("template '" + text + "'", [&] { (void)apply_filter(word, "x"); });
        part.filters.push_back(word);
      }
      if (bar == std::string::npos) {
        break;
      }
      begin = bar + 1;
    }
    GM_CHECK(!part.column.empty(), kInvalidArgument, "template '", text,
             "': {{ }} holds no name of a column");
    parts_.push_back(std::move(part));
    at = close + 2;
  }
  // What stands behind the last column.
  parts_.push_back({text.substr(at), "", {}});
}

std::vector<std::string> Template::columns() const {
  std::vector<std::string> names;
  for (const Part& part : parts_) {
    if (!part.column.empty()) {
      names.push_back(part.column);
    }
  }
  return names;
}

std::string Template::render(
    const std::function<const std::string&(const std::string& column)>& value_of) const {
  std::string out;
  for (const Part& part : parts_) {
    out += part.text;
    if (!part.column.empty()) {
      std::string value = value_of(part.column);
      for (const std::string& filter : part.filters) {
        value = apply_filter(filter, value);
      }
      out += value;
    }
  }
  return out;
}

std::string apply_filter(const std::string& filter, const std::string& text) {
  if (filter == "strip") {
    return std::string(strip(text));
  }
  // A character, not a byte.
  if (filter == "drop_last") {
    return text.empty() ? text : text.substr(0, tok::previous_character(text, text.size()));
  }
  if (filter == "lower_first") {
    return map_characters(text, [](std::uint32_t c, bool first) { return first ? lower(c) : c; });
  }
  if (filter == "capitalize") {
    return map_characters(text,
                          [](std::uint32_t c, bool first) { return first ? upper(c) : lower(c); });
  }
  const std::size_t equals = filter.find('=');
  GM_CHECK(equals != std::string::npos, kInvalidArgument, "filter '", filter,
           "', expected strip, drop_last, lower_first, capitalize or A=B");
  return text == filter.substr(0, equals) ? filter.substr(equals + 1) : text;
}

std::string clean_wikihow(const std::string& text) {
  // In the harness's order: what a later step leaves at the ends stays there.
  const std::string titled = replace_all(std::string(strip(text)), " [title]", ". ");
  std::string out;
  for (std::size_t i = 0; i < titled.size();) {
    // The nearest ] in the same line ends a bracket.
    const std::size_t end = titled[i] == '[' ? titled.find_first_of("]\n", i) : std::string::npos;
    if (end != std::string::npos && titled[end] == ']') {
      i = end + 1;
    } else {
      out += titled[i++];
    }
  }
  return replace_all(out, "  ", " ");
}

}  // namespace growmerge::eval
