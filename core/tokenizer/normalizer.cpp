#include "core/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <utility>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

/// Nearly every text is in NFC already, and finding that out is far cheaper than composing it.
bool nfc_changes_nothing(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    // U+0300 is where combining marks begin.
    if (static_cast<unsigned char>(text[i]) < 0xCC) {  // below U+0300
      i += utf8_length(text[i]);
      continue;
    }
    std::size_t length = 0;
    if (char_info(decode_utf8(text.data() + i, &length)).nfc_unsafe()) {
      return false;
    }
    i += length;
  }
  return true;
}

/// All four forms leave ASCII as it is.
bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      return false;
    }
  }
  return true;
}

std::string utf8proc_form(std::string_view text, NormalizerSpec::Kind kind) {
  using Kind = NormalizerSpec::Kind;
  // STABLE: as Unicode's stability of normal forms across versions asks.
  int options = UTF8PROC_STABLE;
  options |= kind == Kind::kNfc || kind == Kind::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (kind == Kind::kNfkc || kind == Kind::kNfkd) {
    options |= UTF8PROC_COMPAT;
  }
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &result,
                                             static_cast<utf8proc_option_t>(options));
  GM_CHECK(size >= 0, kInternal, "Unicode normalization failed: ", utf8proc_errmsg(size));
  std::string out(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  std::free(result);
  return out;
}

/// The normal form in the package's Unicode version, which is older than utf8proc's: marks that it
/// does not know stay where they are and keep their neighbours apart.
std::string unicode_form(std::string_view text, NormalizerSpec::Kind kind) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    if (char_info(decode_utf8(text.data() + i, &length)).normalization_unknown()) {
      out += utf8proc_form(text.substr(begin, i - begin), kind);
      out.append(text, i, length);
      begin = i + length;
    }
    i += length;
  }
  out += utf8proc_form(text.substr(begin), kind);
  return out;
}

std::string_view strip(std::string_view text, bool left, bool right) {
  std::size_t length = 0;
  while (left && !text.empty() && char_info(decode_utf8(text.data(), &length)).white_space()) {
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    const std::size_t last = previous_character(text, text.size());
    if (!char_info(decode_utf8(text.data() + last, &length)).white_space()) {
      break;
    }
    text = text.substr(0, last);
  }
  return text;
}

}  // namespace

std::string replace_literal(std::string_view text, std::string_view literal,
                            std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4 + 8);
  // A space, most often: no search is set up for each.
  if (literal.size() == 1) {
    for (const char c : text) {
      if (c == literal[0]) {
        out += content;
      } else {
        out += c;
      }
    }
    return out;
  }
  std::size_t begin = 0;
  while (!literal.empty()) {
    const std::size_t found = text.find(literal, begin);
    if (found == std::string_view::npos) {
      break;
    }
    out.append(text, begin, found - begin);
    out += content;
    begin = found + literal.size();
  }
  out.append(text, begin);
  return out;
}

std::string replace_matches(std::string_view text, const Pattern& pattern,
                            std::string_view content) {
  std::string out;
  std::size_t begin = 0;
  pattern.for_each_match(text, [&](std::size_t first, std::size_t last) {
    out.append(text, begin, first - begin);
    out += content;
    begin = last;
  });
  out.append(text, begin);
  return out;
}

Normalizer::Normalizer(const std::vector<NormalizerSpec>& specs) {
  for (const NormalizerSpec& spec : specs) {
    Step step{spec, std::nullopt};
    if (spec.kind == NormalizerSpec::Kind::kReplace) {
      if (spec.pattern.is_regex) {
        step.pattern.emplace(spec.pattern.text);
      }
      GM_CHECK(!spec.pattern.text.empty(), kUnsupported,
               "normalizer Replace: an empty pattern is not understood");
    }
    steps_.push_back(std::move(step));
  }
}

std::string_view Normalizer::normalize(std::string_view text, std::string& buffer) const {
  using Kind = NormalizerSpec::Kind;
  for (const Step& step : steps_) {
    const NormalizerSpec& spec = step.spec;
    switch (spec.kind) {
      case Kind::kNfc:
        if (nfc_changes_nothing(text)) {
          continue;
        }
        buffer = unicode_form(text, spec.kind);
        break;
      case Kind::kNfd:
      case Kind::kNfkc:
      case Kind::kNfkd:
        if (is_ascii(text)) {
          continue;
        }
        buffer = unicode_form(text, spec.kind);
        break;
      case Kind::kStrip:
        buffer = std::string(strip(text, spec.strip_left, spec.strip_right));
        break;
      case Kind::kPrepend:
        if (text.empty()) {
          continue;
        }
        buffer = concat(spec.content, text);
        break;
      case Kind::kReplace:
        buffer = step.pattern ? replace_matches(text, *step.pattern, spec.content)
                              : replace_literal(text, spec.pattern.text, spec.content);
        break;
    }
    // Each step reads the one before: where that wrote into `buffer`, its result is read from there
    // and replaced as a whole, once the new text is made.
    text = buffer;
  }
  return text;
}

}  // namespace growmerge::tok
