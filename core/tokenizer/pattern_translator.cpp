#include "core/tokenizer/pattern_translator.h"

#include <array>
#include <cstdio>
#include <string_view>
#include <vector>

#include "core/tokenizer/char_class.h"
#include "core/tokenizer/properties.h"

namespace growmerge::tok {
namespace {

void append_hex(std::string& out, std::uint32_t c) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "\\x{%X}", c);
  out += text.data();
}

void append_range(std::string& out, std::uint32_t first, std::uint32_t last) {
  append_hex(out, first);
  if (last != first) {
    out += '-';
    append_hex(out, last);
  }
}

/// Classes are spelled out as ranges of the package's Unicode version: PCRE2 has another, in which
/// other characters are letters.
std::string class_text(const CodePointSet& set) {
  if (set.empty()) {
    return "(?!)";
  }
  // Written as what it leaves out where that is shorter to say.
  const bool negated = set.contains(0x10FFFF);
  const CodePointSet shown = negated ? set.complement() : set;
  if (shown.empty()) {
    return "(?s:.)";
  }
  std::string out = negated ? "[^" : "[";
  for (const CodePointRange& range : shown.ranges()) {
    // PCRE2 takes no surrogates in UTF-8.
    if (range.first < 0xD800 && range.last > 0xDFFF) {
      append_range(out, range.first, 0xD7FF);
      append_range(out, 0xE000, range.last);
    } else if (range.first >= 0xD800 && range.first <= 0xDFFF) {
      append_range(out, 0xE000, range.last);
    } else {
      append_range(out, range.first,
                   range.last >= 0xD800 && range.last <= 0xDFFF ? 0xD7FF : range.last);
    }
  }
  return out + ']';
}

class Translator {
 public:
  explicit Translator(const std::string& regex) : cursor_{regex} {}

  std::string run() {
    while (!cursor_.done()) {
      step();
    }
    close_implicit();
    if (!groups_.empty()) {
      cursor_.refuse("(");
    }
    return std::move(out_);
  }

 private:
  struct Group {
    std::size_t begin;      // in out_
    bool ignore_case;       // outside of it
    bool implicit = false;  // opened by (?i), closed where its parent closes
  };

  void step() {
    switch (cursor_.peek()) {
      case '\\':
        escape();
        return;
      case '[':
        set(read_class(cursor_));
        return;
      case '(':
        open_group();
        return;
      case ')':
        close_group();
        return;
      case '|':
        ++cursor_.at;
        out_ += '|';
        has_atom_ = false;
        literal_before_ = '\0';
        return;
      case '^':
        ++cursor_.at;
        atom("(?m:^)");
        return;
      case '$':
        ++cursor_.at;
        atom("(?m:$)");
        return;
      case '.':
        ++cursor_.at;
        atom("[^\\n]");
        return;
      case '*':
      case '+':
      case '?':
        repeat(std::string(1, cursor_.peek()), true);
        return;
      case '{':
        interval();
        return;
      default:
        literal(cursor_.next());
    }
  }

  void atom(std::string_view text) {
    atom_begin_ = out_.size();
    has_atom_ = true;
    repeated_ = false;
    literal_before_ = '\0';
    out_ += text;
  }

  void set(const CodePointSet& set) {
    // Of other classes the two would add different characters of the other case.
    if (ignore_case_ && !set.empty() && set.ranges().back().last >= 0x80) {
      cursor_.refuse("(?i) around a class beyond ASCII");
    }
    atom(class_text(set));
  }

  void literal(std::uint32_t c) {
    const char before = literal_before_;
    std::string text;
    append_hex(text, c);
    atom(text);
    if (!ignore_case_) {
      return;
    }
    if (c >= 0x80) {
      cursor_.refuse("(?i) around a character beyond ASCII");
    }
    const char lower = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    // Oniguruma folds some pairs with one character: ss is sharp s, the others are ligatures.
    for (const std::string_view pair : {"ss", "ff", "fi", "fl", "st"}) {
      if (before == pair[0] && lower == pair[1]) {
        cursor_.refuse(pair);
      }
    }
    literal_before_ = lower;
  }

  void escape() {
    if (const auto read = read_escape(cursor_, false)) {
      if (read->single) {
        literal(*read->single);
      } else {
        set(read->set);
      }
      return;
    }
    const std::string_view escaped = cursor_.text.substr(cursor_.at, 2);
    cursor_.at += escaped.size();
    if (escaped == "\\A" || escaped == "\\z" || escaped == "\\Z") {
      atom(escaped);
    } else if (escaped == "\\R") {
      atom(R"((?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}]))");
    } else if (escaped == "\\b" || escaped == "\\B") {
      const std::string word = class_text(*lone_property_set("word"));
      const std::string edge =
          "(?<!" + word + ")(?=" + word + ")|(?<=" + word + ")(?!" + word + ")";
      atom(escaped == "\\b" ? "(?:" + edge + ")" : "(?!" + edge + ")");
    } else {
      cursor_.refuse(escaped);
    }
  }

  void open_group() {
    const Group group{out_.size(), ignore_case_};
    // What means the same to both; (*...) and the rest of (?...) do not.
    static constexpr std::array<std::string_view, 6> kSame = {"(?:",  "(?=",  "(?!",
                                                              "(?<=", "(?<!", "(?>"};
    for (const std::string_view same : kSame) {
      if (cursor_.starts_with(same)) {
        open(group, same, same.size());
        return;
      }
    }
    if (cursor_.starts_with("(?#")) {
      const std::size_t close = cursor_.text.find(')', cursor_.at);
      cursor_.at = close == std::string_view::npos ? cursor_.text.size() : close + 1;
    } else if (cursor_.starts_with("(?i:") || cursor_.starts_with("(?-i:")) {
      const bool ignore_case = cursor_.peek(2) == 'i';
      open(group, ignore_case ? "(?i:" : "(?-i:", ignore_case ? 4 : 5);
      ignore_case_ = ignore_case;
    } else if (cursor_.starts_with("(?i)") || cursor_.starts_with("(?-i)")) {
      const bool ignore_case = cursor_.peek(2) == 'i';
      open({group.begin, group.ignore_case, true},
           ignore_case ? "(?i:" : "(?-i:", ignore_case ? 4 : 5);
      ignore_case_ = ignore_case;
    } else if (cursor_.starts_with("(?<") &&
               cursor_.text.find('>', cursor_.at) != std::string_view::npos) {
      open(group, "(", cursor_.text.find('>', cursor_.at) + 1 - cursor_.at);
    } else if (cursor_.peek(1) == '?' || cursor_.peek(1) == '*') {
      cursor_.refuse(cursor_.text.substr(cursor_.at, 3));
    } else {
      open(group, "(", 1);
    }
  }

  void open(const Group& group, std::string_view text, std::size_t read) {
    groups_.push_back(group);
    out_ += text;
    cursor_.at += read;
    has_atom_ = false;
    literal_before_ = '\0';
  }

  void pop_group() {
    const Group group = groups_.back();
    groups_.pop_back();
    out_ += ')';
    ignore_case_ = group.ignore_case;
    atom_begin_ = group.begin;
    has_atom_ = true;
    repeated_ = false;
    literal_before_ = '\0';
  }

  void close_implicit() {
    while (!groups_.empty() && groups_.back().implicit) {
      pop_group();
    }
  }

  void close_group() {
    close_implicit();
    if (groups_.empty()) {
      cursor_.refuse(")");
    }
    ++cursor_.at;
    pop_group();
  }

  /// A quantifier at the cursor. Behind a first one it repeats the repetition, which PCRE2 would
  /// read in another way ({n}+) or not at all (+*).
  void repeat(std::string text, bool may_be_possessive) {
    if (!has_atom_) {
      cursor_.refuse(text);
    }
    cursor_.at += text.size();
    append_quantifier(std::move(text), true, may_be_possessive);
  }

  void append_quantifier(std::string text, bool may_be_lazy, bool may_be_possessive) {
    const char next = cursor_.peek();
    if ((may_be_lazy && next == '?') || (may_be_possessive && next == '+')) {
      text += next;
      ++cursor_.at;
    }
    if (repeated_) {
      out_.insert(atom_begin_, "(?:");
      out_ += ')';
    }
    out_ += text;
    repeated_ = true;
    literal_before_ = '\0';
  }

  void interval() {
    const std::size_t close = cursor_.text.find('}', cursor_.at);
    std::string body;
    if (close != std::string_view::npos) {
      body = cursor_.text.substr(cursor_.at + 1, close - cursor_.at - 1);
    }
    const std::size_t comma = body.find(',');
    if (body.empty() || body == "," || body.find_first_not_of("0123456789,") != std::string::npos ||
        (comma != std::string::npos && body.find(',', comma + 1) != std::string::npos)) {
      literal(cursor_.next());  // no interval: a brace
      return;
    }
    if (!has_atom_) {
      cursor_.refuse("{" + body + "}");
    }
    cursor_.at = close + 1;
    // {n}? makes the repetition optional and {n}+ repeats it; only {n,m}? is lazy.
    append_quantifier((comma == 0 ? "{0" : "{") + body + "}", comma != std::string::npos, false);
  }

  PatternCursor cursor_;
  std::string out_;
  std::vector<Group> groups_;
  bool ignore_case_ = false;
  std::size_t atom_begin_ = 0;  // where in out_ the last thing that can be repeated begins
  bool has_atom_ = false;
  bool repeated_ = false;       // it has a quantifier already
  char literal_before_ = '\0';  // under (?i): the character in front, in lower case
};

}  // namespace

std::string translate_pattern(const std::string& regex) { return Translator(regex).run(); }

}  // namespace growmerge::tok
