#include "core/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

/// A stretch of text between two cuts, and whether it matched what the splitter looks for.
struct Stretch {
  std::size_t begin;
  std::size_t end;
  bool match;
};

std::vector<Stretch> stretches_of_pattern(std::string_view text, const Pattern& pattern) {
  std::vector<Stretch> out;
  std::size_t done = 0;
  pattern.for_each_match(text, [&](std::size_t begin, std::size_t end) {
    if (done != begin) {
      out.push_back({done, begin, false});
    }
    out.push_back({begin, end, true});
    done = end;
  });
  if (done != text.size()) {
    out.push_back({done, text.size(), false});
  }
  return out;
}

std::vector<Stretch> stretches_of_literal(std::string_view text, std::string_view literal) {
  std::vector<Stretch> out;
  std::size_t done = 0;
  for (std::size_t at = 0; (at = text.find(literal, done)) != std::string_view::npos;) {
    if (done != at) {
      out.push_back({done, at, false});
    }
    done = at + literal.size();
    out.push_back({at, done, true});
  }
  if (done != text.size()) {
    out.push_back({done, text.size(), false});
  }
  return out;
}

/// Every character that satisfies the predicate is a match of its own.
template <class Predicate>
std::vector<Stretch> stretches_of_characters(std::string_view text, const Predicate& predicate) {
  std::vector<Stretch> out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    // What does not match is one stretch, however long.
    const bool match = predicate(char_info(decode_utf8(text.data() + i, &length)));
    if (!match && !out.empty() && !out.back().match) {
      out.back().end = i + length;
    } else {
      out.push_back({i, i + length, match});
    }
    i += length;
  }
  return out;
}

/// \w+|[^\w\s]+, all else removed.
std::vector<Stretch> stretches_of_words(std::string_view text) {
  std::vector<Stretch> out;
  int previous = 0;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = 0;
    const CharInfo info = char_info(decode_utf8(text.data() + i, &length));
    const int kind = info.word() ? 1 : info.white_space() ? 0 : 2;
    if (kind != 0 && kind == previous) {
      out.back().end = i + length;
    } else if (kind != 0) {
      out.push_back({i, i + length, false});
    }
    previous = kind;
    i += length;
  }
  return out;
}

/// Every `length` characters.
std::vector<Stretch> stretches_of_length(std::string_view text, std::size_t length) {
  std::vector<Stretch> out;
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); i += utf8_length(text[i]), ++count) {
    if (count % length == 0) {
      out.push_back({i, i, false});
    }
    out.back().end = i + utf8_length(text[i]);
  }
  return out;
}

/// Joins and drops stretches as the behaviour says.
std::vector<Stretch> arrange(std::vector<Stretch> in, SplitBehavior behavior) {
  std::vector<Stretch> out;
  bool previous_match = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return in;
    case SplitBehavior::kRemoved:
      std::copy_if(in.begin(), in.end(), std::back_inserter(out),
                   [](const Stretch& s) { return !s.match; });
      return out;
    case SplitBehavior::kContiguous:
      for (const Stretch& s : in) {
        if (!out.empty() && out.back().match == s.match) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
      }
      return out;
    case SplitBehavior::kMergedWithPrevious:
      for (const Stretch& s : in) {
        // Of several matches in a row only the first one joins what is in front of it, as in the
        // package.
        if (s.match && !previous_match && !out.empty()) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
        previous_match = s.match;
      }
      return out;
    case SplitBehavior::kMergedWithNext:
      // The same from the other end.
      for (auto s = in.rbegin(); s != in.rend(); ++s) {
        if (s->match && !previous_match && !out.empty()) {
          out.back().begin = s->begin;
        } else {
          out.push_back(*s);
        }
        previous_match = s->match;
      }
      std::reverse(out.begin(), out.end());
      return out;
  }
  return out;
}

std::vector<Stretch> split_piece(std::string_view text, const PreTokenizerSpec& spec,
                                 const std::optional<Pattern>& pattern) {
  using Kind = PreTokenizerSpec::Kind;
  switch (spec.kind) {
    case Kind::kByteLevel:
      // Without a pattern ByteLevel cuts nothing; it only says how words are spelled.
      return pattern ? stretches_of_pattern(text, *pattern)
                     : std::vector<Stretch>{{0, text.size(), false}};
    case Kind::kDigits:
      return arrange(
          stretches_of_characters(text, [](CharInfo c) { return c.numeric(); }),
          spec.individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
    case Kind::kSplit: {
      std::vector<Stretch> found = pattern ? stretches_of_pattern(text, *pattern)
                                           : stretches_of_literal(text, spec.pattern.text);
      if (spec.invert) {
        for (Stretch& s : found) {
          s.match = !s.match;
        }
      }
      return arrange(std::move(found), spec.behavior);
    }
    case Kind::kMetaspace:
      return spec.split ? arrange(stretches_of_literal(text, spec.replacement),
                                  SplitBehavior::kMergedWithNext)
                        : std::vector<Stretch>{{0, text.size(), false}};
    case Kind::kPunctuation:
      return arrange(stretches_of_characters(text, [](CharInfo c) { return c.punctuation(); }),
                     spec.behavior);
    case Kind::kWhitespace:
      return stretches_of_words(text);
    case Kind::kFixedLength:
      return stretches_of_length(text, spec.length);
    case Kind::kWhitespaceSplit:
      return arrange(stretches_of_characters(text, [](CharInfo c) { return c.white_space(); }),
                     SplitBehavior::kRemoved);
  }
  return {};
}

/// The text that write(writer) makes of `text`, traced where that is.
template <class Write>
TracedText rewritten(const TracedText& text, const Write& write) {
  TracedText out;
  if (text.origin.empty()) {
    TextWriter writer(text.text, out.text);
    write(writer);
  } else {
    TracingWriter writer(text, out);
    write(writer);
  }
  return out;
}

/// Every space becomes the replacement, and one is put in front, where there is none, so that a
/// word reads the same at a text's start and inside it.
TracedText with_metaspace(const TracedText& text, const PreTokenizerSpec& spec, bool at_start) {
  const bool wanted = spec.prepend_scheme == PrependScheme::kAlways ||
                      (spec.prepend_scheme == PrependScheme::kFirst && at_start);
  const bool there = text.text.starts_with(' ') || text.text.starts_with(spec.replacement);
  return rewritten(text, [&](auto& writer) {
    if (wanted && !there) {
      writer.put(spec.replacement, 0, 0);
    }
    std::size_t kept = 0;
    for (std::size_t at = 0; (at = text.text.find(' ', kept)) != std::string::npos;) {
      writer.keep(kept, at);
      kept = at + 1;
      writer.put(spec.replacement, at, kept);
    }
    writer.keep(kept, text.text.size());
  });
}

TracedText with_space_in_front(const TracedText& text) {
  return rewritten(text, [&](auto& writer) {
    writer.put(" ", 0, 0);
    writer.keep(0, text.text.size());
  });
}

TracedText spelled(const TracedText& text, const ByteAlphabet& alphabet) {
  return rewritten(text, [&](auto& writer) {
    for (std::size_t i = 0; i < text.text.size(); ++i) {
      writer.put(alphabet.character(static_cast<unsigned char>(text.text[i])), i, i + 1);
    }
  });
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerSpec>& specs) {
  using Kind = PreTokenizerSpec::Kind;
  byte_level_ = !specs.empty() && specs.back().kind == Kind::kByteLevel;
  // The lists that nearly all models use have a scanner of their own; the rest goes step by step.
  scanner_ = Scanner::for_pre_tokenizers(specs);
  if (scanner_) {
    return;
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const PreTokenizerSpec& spec = specs[i];
    Step step{spec, std::nullopt};
    if (spec.kind == Kind::kByteLevel) {
      step.spells = i + 1 < specs.size();
      if (spec.use_regex) {
        step.pattern.emplace(kGpt2Pattern);
      }
    } else if (spec.kind == Kind::kSplit) {
      GM_CHECK(!spec.pattern.text.empty(), kUnsupported,
               "pre-tokenizer Split: an empty pattern is not understood");
      if (spec.pattern.is_regex) {
        step.pattern.emplace(spec.pattern.text);
      }
    }
    asks_for_start_ = asks_for_start_ || (spec.kind == Kind::kMetaspace &&
                                          spec.prepend_scheme == PrependScheme::kFirst);
    steps_.push_back(std::move(step));
  }
}

void PreTokenizer::run_step(const Step& step, Piece piece, std::vector<Piece>& out) const {
  using Kind = PreTokenizerSpec::Kind;
  const PreTokenizerSpec& spec = step.spec;
  TracedText& text = piece.text;
  if (spec.kind == Kind::kByteLevel && spec.add_prefix_space && text.text[0] != ' ') {
    text = with_space_in_front(text);
  }
  if (spec.kind == Kind::kMetaspace) {
    text = with_metaspace(text, spec, piece.at_start);
  }
  const std::vector<Stretch> stretches = split_piece(text.text, spec, step.pattern);
  for (const Stretch& s : stretches) {
    if (s.begin == s.end) {
      continue;
    }
    Piece part{text.slice(s.begin, s.end), piece.at_start && s.begin == 0};
    if (step.spells) {
      part.text = spelled(part.text, alphabet_);
    }
    out.push_back(std::move(part));
  }
}

std::vector<PreTokenizer::Piece> PreTokenizer::run_steps(TracedText text, bool at_start) const {
  std::vector<Piece> pieces;
  if (!text.text.empty()) {
    pieces.push_back({std::move(text), at_start});
  }
  for (const Step& step : steps_) {
    std::vector<Piece> next;
    for (Piece& piece : pieces) {
      run_step(step, std::move(piece), next);
    }
    pieces = std::move(next);
  }
  return pieces;
}

std::vector<TracedText> PreTokenizer::traced_words(const TracedText& text, bool at_start) const {
  std::vector<TracedText> out;
  if (scanner_) {
    // Its words are parts of the text as they stand.
    for_each_word(text.text, at_start, [&](std::string_view word) {
      const auto begin = static_cast<std::size_t>(word.data() - text.text.data());
      out.push_back(text.slice(begin, begin + word.size()));
    });
    return out;
  }
  for (Piece& piece : run_steps(text, at_start)) {
    out.push_back(std::move(piece.text));
  }
  return out;
}

}  // namespace growmerge::tok
