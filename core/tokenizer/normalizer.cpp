#include "core/tokenizer/normalizer.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "core/tokenizer/grapheme.h"
#include "core/tokenizer/properties.h"
#include "core/tokenizer/unicode.h"
#include "core/tokenizer/unicode_form.h"

namespace growmerge::tok {
namespace {

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

/// Writes the text; where change(c, changed) is true, a character's place is taken by what it
/// appended.
template <class Writer, class Change>
void change_characters(std::string_view text, Writer& out, const Change& change) {
  std::string changed;
  std::size_t kept = 0;  // from here on nothing is written yet
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    const std::uint32_t c = decode_utf8(text.data() + i, &length);
    changed.clear();
    if (change(c, changed)) {
      out.keep(kept, i);
      out.put(changed, i, i + length);
      kept = i + length;
    }
    i += length;
  }
  out.keep(kept, text.size());
}

bool change_to_lower(std::uint32_t c, std::string& changed) {
  const std::uint32_t lower = lower_case(c);
  if (lower == c) {
    return false;
  }
  append_utf8(changed, lower);
  changed += c == 0x130 ? "\xCC\x87" : "";  // the dot above stays, as a mark
  return true;
}

/// SentencePiece's rules for machine translation: controls go, odd blanks become spaces.
bool change_nmt(std::uint32_t c, std::string& changed) {
  const auto is = [c](std::uint32_t first, std::uint32_t last) { return first <= c && c <= last; };
  if (is(0x01, 0x08) || c == 0x0B || is(0x0E, 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) {
    return true;
  }
  if (c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || is(0x200B, 0x200F) ||
      c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD) {
    changed += ' ';
    return true;
  }
  return false;
}

/// A text under one of the normal forms. Traced, it is cut wherever that changes nothing.
template <class Writer>
void write_form(std::string_view text, NormalizerSpec::Kind kind, Writer& out) {
  if (form_changes_nothing(text, kind)) {
    out.keep(0, text.size());
    return;
  }
  std::size_t begin = 0;
  for (std::size_t i = 0; Writer::kTraces && i < text.size();) {
    const std::size_t length = utf8_length(text[i]);
    if (i != begin && form_begins(text.substr(i, length), kind)) {
      out.put(unicode_form(text.substr(begin, i - begin), kind), begin, i);
      begin = i;
    }
    i += length;
  }
  out.put(unicode_form(text.substr(begin), kind), begin, text.size());
}

template <class Writer>
void write_precompiled(std::string_view text, const Precompiled& rules, Writer& out) {
  std::size_t kept = 0;  // from here on nothing is written yet
  const auto replace = [&](std::size_t begin, std::size_t end) {
    const auto replacement = rules.replacement(text.substr(begin, end - begin));
    if (replacement) {
      out.keep(kept, begin);
      out.put(*replacement, begin, end);
      kept = end;
    }
    return replacement.has_value();
  };
  const auto is_ascii = [&](std::size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
  for (std::size_t i = 0; i < text.size();) {
    // Between two characters of ASCII a cluster ends, but for CR LF.
    if (rules.keeps_ascii(text[i]) && (i + 1 == text.size() || is_ascii(i + 1))) {
      ++i;
      continue;
    }
    const std::size_t end = grapheme_end(text, i);
    if (end - i < 6 && replace(i, end)) {
      i = end;
      continue;
    }
    while (i < end) {
      const std::size_t length = utf8_length(text[i]);
      replace(i, i + length);
      i += length;
    }
  }
  out.keep(kept, text.size());
}

/// Literals, where their places are asked for; replace_literal() is faster.
template <class Writer>
void write_replaced(std::string_view text, std::string_view literal, std::string_view content,
                    Writer& out) {
  std::size_t kept = 0;
  for (std::size_t at = 0; (at = text.find(literal, kept)) != std::string_view::npos;) {
    out.keep(kept, at);
    kept = at + literal.size();
    out.put(content, at, kept);
  }
  out.keep(kept, text.size());
}

template <class Writer>
void write_replaced(std::string_view text, const Pattern& pattern, std::string_view content,
                    Writer& out) {
  std::size_t kept = 0;
  pattern.for_each_match(text, [&](std::size_t first, std::size_t last) {
    out.keep(kept, first);
    out.put(content, first, last);
    kept = last;
  });
  out.keep(kept, text.size());
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
    Step step{spec, std::nullopt, std::nullopt};
    if (spec.kind == NormalizerSpec::Kind::kReplace) {
      if (spec.pattern.is_regex) {
        step.pattern.emplace(spec.pattern.text);
      }
      GM_CHECK(!spec.pattern.text.empty(), kUnsupported,
               "normalizer Replace: an empty pattern is not understood");
    } else if (spec.kind == NormalizerSpec::Kind::kPrecompiled) {
      step.rules.emplace(spec.content);
    }
    steps_.push_back(std::move(step));
  }
}

template <class Writer>
void Normalizer::run_step(const Step& step, std::string_view text, Writer& out) const {
  using Kind = NormalizerSpec::Kind;
  const NormalizerSpec& spec = step.spec;
  switch (spec.kind) {
    case Kind::kNfc:
    case Kind::kNfd:
    case Kind::kNfkc:
    case Kind::kNfkd:
      write_form(text, spec.kind, out);
      return;
    case Kind::kStrip: {
      const std::string_view rest = strip(text, spec.strip_left, spec.strip_right);
      const auto begin = static_cast<std::size_t>(rest.data() - text.data());
      out.keep(begin, begin + rest.size());
      return;
    }
    case Kind::kPrepend:
      out.put(spec.content, 0, 0);
      out.keep(0, text.size());
      return;
    case Kind::kReplace:
      if (step.pattern) {
        write_replaced(text, *step.pattern, spec.content, out);
      } else {
        write_replaced(text, spec.pattern.text, spec.content, out);
      }
      return;
    case Kind::kLowercase:
      change_characters(text, out, change_to_lower);
      return;
    case Kind::kStripAccents:
      change_characters(text, out,
                        [](std::uint32_t c, std::string&) { return is_combining_mark(c); });
      return;
    case Kind::kNmt:
      change_characters(text, out, change_nmt);
      return;
    case Kind::kPrecompiled:
      write_precompiled(text, *step.rules, out);
      return;
    case Kind::kByteLevel:
      for (std::size_t i = 0; i < text.size(); ++i) {
        out.put(alphabet_.character(static_cast<unsigned char>(text[i])), i, i + 1);
      }
      return;
  }
}

std::string_view Normalizer::normalize(std::string_view text, std::string& buffer) const {
  using Kind = NormalizerSpec::Kind;
  for (const Step& step : steps_) {
    const Kind kind = step.spec.kind;
    const bool is_form =
        kind == Kind::kNfc || kind == Kind::kNfd || kind == Kind::kNfkc || kind == Kind::kNfkd;
    if (text.empty() || (is_form && form_changes_nothing(text, kind))) {
      continue;
    }
    std::string next;
    if (kind == Kind::kReplace && !step.pattern) {
      next = replace_literal(text, step.spec.pattern.text, step.spec.content);
    } else {
      next.reserve(text.size() + text.size() / 8 + 8);
      TextWriter writer(text, next);
      run_step(step, text, writer);
    }
    // Each step reads the one before: where that wrote into `buffer`, its result is read from there
    // and replaced as a whole, once the new text is made.
    buffer = std::move(next);
    text = buffer;
  }
  return text;
}

TracedText Normalizer::normalize(TracedText text) const {
  for (const Step& step : steps_) {
    if (text.text.empty()) {
      continue;
    }
    TracedText next;
    TracingWriter writer(text, next);
    run_step(step, text.text, writer);
    // As in the package, what the rules take away in front counts to what follows.
    if (step.rules && !next.origin.empty()) {
      next.origin[0].begin = text.origin[0].begin;
    }
    text = std::move(next);
  }
  return text;
}

bool Normalizer::keeps_front(std::string_view text) const {
  // A short part tells, unless all of it goes.
  for (std::size_t length = 64; !steps_.empty(); length *= 4) {
    std::size_t end = std::min(length, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
      ++end;
    }
    const TracedText front = normalize(TracedText::of_original(text.substr(0, end)));
    if (!front.origin.empty() || end == text.size()) {
      return front.origin.empty() || front.origin[0].begin == 0;
    }
  }
  return true;
}

}  // namespace growmerge::tok
