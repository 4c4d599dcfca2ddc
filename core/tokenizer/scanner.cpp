#include "core/tokenizer/scanner.h"

#include <algorithm>

#include "core/tokenizer/unicode.h"

namespace growmerge::tok {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// The family's pattern around its \p{N}, which Llama 3 follows by {1,3} and Qwen by nothing.
constexpr const char* kCl100kHead =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
constexpr const char* kCl100kTail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Whether the words are the matches. Every character of a text is in one, so nothing lies between
/// them to be kept or removed.
bool keeps_matches(const PreTokenizerSpec& split) {
  return (split.behavior == SplitBehavior::kIsolated && !split.invert) ||
         (split.behavior == SplitBehavior::kRemoved && split.invert);
}

/// Bytes of an English contraction ('s 't 're 've 'm 'll 'd) at the apostrophe, or 0. Without case
/// the long s (U+017F) is an s, too.
std::size_t contraction(std::string_view text, std::size_t at, bool any_case) {
  const auto letter = [&](std::size_t i) {
    const char c = i < text.size() ? text[i] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = letter(at + 1);
  const char second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') {
    return 2;
  }
  if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l')) {
    return 3;
  }
  return any_case && text.compare(at + 1, 2, "\xC5\xBF") == 0 ? 3 : 0;
}

bool is_newline(char c) { return c == '\n' || c == '\r'; }

}  // namespace

std::optional<Scanner> Scanner::for_pre_tokenizers(const std::vector<PreTokenizerSpec>& specs) {
  using Kind = PreTokenizerSpec::Kind;
  if (specs.empty() || specs.back().kind != Kind::kByteLevel || specs.back().add_prefix_space ||
      specs.size() > 2) {
    return std::nullopt;
  }
  const bool gpt2 = specs.back().use_regex;
  if (specs.size() == 1) {
    return gpt2 ? std::optional<Scanner>(Scanner(true, false, 0)) : std::nullopt;
  }
  const PreTokenizerSpec& first = specs.front();
  if (gpt2) {
    return first.kind == Kind::kDigits && first.individual_digits
               ? std::optional<Scanner>(Scanner(true, true, 0))
               : std::nullopt;
  }
  if (first.kind != Kind::kSplit || !first.pattern.is_regex || !keeps_matches(first)) {
    return std::nullopt;
  }
  // Compared letter by letter: a pattern that differs at all goes to PCRE2.
  if (first.pattern.text == kGpt2Pattern) {
    return Scanner(true, false, 0);
  }
  if (first.pattern.text == std::string(kCl100kHead) + "{1,3}" + kCl100kTail) {
    return Scanner(false, false, 3);
  }
  if (first.pattern.text == std::string(kCl100kHead) + kCl100kTail) {
    return Scanner(false, false, 1);
  }
  return std::nullopt;
}

Scanner::Scanner(bool is_gpt2, bool isolate_digits, int max_digits)
    : is_gpt2_(is_gpt2), max_digits_(max_digits) {
  bytes_.fill(kNotAscii);
  std::array<std::uint8_t, 256> page{};
  // A class for each code point, in pages of 256. A page that equals the one before, as in the
  // large blocks of one script, is stored once.
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    const CharInfo info = char_info(c);
    const Class value = isolate_digits && info.numeric() ? kDigit
                        : info.letter()                  ? kLetter
                        : info.number()                  ? kNumber
                        : info.pattern_space()           ? kSpace
                                                         : kOther;
    page[c & 255] = value;
    if (c < 128) {
      bytes_[c] = value;
    }
    if ((c & 255) == 255) {
      const bool again =
          !pages_.empty() && std::equal(page.begin(), page.end(), pages_.end() - 256);
      if (!again) {
        pages_.insert(pages_.end(), page.begin(), page.end());
      }
      page_index_[c >> 8] = static_cast<std::uint16_t>(pages_.size() / 256 - 1);
    }
  }
}

Scanner::Class Scanner::class_at(std::string_view text, std::size_t at, std::size_t* length) const {
  // ASCII by one look-up, without decoding.
  const Class byte = bytes_[static_cast<unsigned char>(text[at])];
  if (byte != kNotAscii) {
    *length = 1;
    return byte;
  }
  const std::uint32_t c = decode_utf8(text.data() + at, length);
  return static_cast<Class>(
      pages_[(static_cast<std::size_t>(page_index_[c >> 8]) << 8) + (c & 255)]);
}

std::size_t Scanner::run_end(std::string_view text, std::size_t at, Class wanted) const {
  while (true) {
    while (at < text.size() && bytes_[static_cast<unsigned char>(text[at])] == wanted) {
      ++at;
    }
    std::size_t length = 0;
    if (at == text.size() || bytes_[static_cast<unsigned char>(text[at])] != kNotAscii ||
        class_at(text, at, &length) != wanted) {
      return at;
    }
    at += length;
  }
}

/// \s+(?!\S)|\s+, and before it \s*[\r\n]+ when newlines_first.
std::size_t Scanner::space_end(std::string_view text, std::size_t begin,
                               bool newlines_first) const {
  std::size_t end = begin;
  std::size_t last = begin;  // start of the run's last character
  std::size_t behind_newline = 0;
  std::size_t length = 0;
  Class next = kSpace;
  while (end < text.size() && (next = class_at(text, end, &length)) == kSpace) {
    if (is_newline(text[end])) {
      behind_newline = end + 1;
    }
    last = end;
    end += length;
  }
  // \s*[\r\n]+ takes the run up to its last line break.
  if (newlines_first && behind_newline != 0) {
    return behind_newline;
  }
  // The text ends here, or the piece that Digits cut out of it.
  const bool at_end = end == text.size() || next == kDigit;
  // \s+(?!\S): the run's last character is left to the word behind it, unless it is all there is.
  return at_end || last == begin ? end : last;
}

std::size_t Scanner::gpt2_end(std::string_view text, std::size_t begin) const {
  if (text[begin] == '\'') {
    if (const std::size_t bytes = contraction(text, begin, false)) {
      return begin + bytes;
    }
  }
  std::size_t length = 0;
  Class first = class_at(text, begin, &length);
  std::size_t at = begin + length;
  if (first == kDigit) {
    return at;
  }
  // Only the space itself may stand in front of a word; other white space is a run of its own.
  if (first == kSpace) {
    if (text[begin] != ' ' || at == text.size()) {
      return space_end(text, begin, false);
    }
    first = class_at(text, at, &length);
    if (first == kSpace || first == kDigit) {
      return space_end(text, begin, false);
    }
    at += length;
  }
  return run_end(text, at, first);
}

std::size_t Scanner::cl100k_end(std::string_view text, std::size_t begin) const {
  if (text[begin] == '\'') {
    if (const std::size_t bytes = contraction(text, begin, true)) {
      return begin + bytes;
    }
  }
  std::size_t length = 0;
  const Class first = class_at(text, begin, &length);
  std::size_t at = begin + length;
  if (first == kLetter) {
    return run_end(text, at, kLetter);
  }
  if (first == kNumber) {
    for (int i = 1; i < max_digits_ && at < text.size(); ++i) {
      if (class_at(text, at, &length) != kNumber) {
        break;
      }
      at += length;
    }
    return at;
  }
  const bool more = at < text.size();
  const Class second = more ? class_at(text, at, &length) : kSpace;
  // [^\r\n\p{L}\p{N}]?\p{L}+: any one character that is neither goes with the letters behind it.
  if (more && second == kLetter && !is_newline(text[begin])) {
    return run_end(text, at + length, kLetter);
  }
  // ?[^\s\p{L}\p{N}]+[\r\n]*
  if (first == kOther || (text[begin] == ' ' && more && second == kOther)) {
    std::size_t end = run_end(text, at, kOther);
    while (end < text.size() && is_newline(text[end])) {
      ++end;
    }
    return end;
  }
  return space_end(text, begin, true);
}

}  // namespace growmerge::tok
