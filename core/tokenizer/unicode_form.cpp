#include "core/tokenizer/unicode_form.h"

#include <utf8proc.h>

#include <cstdlib>

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

}  // namespace

bool form_changes_nothing(std::string_view text, NormalizerSpec::Kind kind) {
  return kind == NormalizerSpec::Kind::kNfc ? nfc_changes_nothing(text) : is_ascii(text);
}

bool form_begins(std::string_view character, NormalizerSpec::Kind kind) {
  // What it becomes must not join what stands before.
  const std::string form = unicode_form(character, kind);
  std::size_t length = 0;
  return !form.empty() && !char_info(decode_utf8(form.data(), &length)).nfc_unsafe();
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

}  // namespace growmerge::tok
