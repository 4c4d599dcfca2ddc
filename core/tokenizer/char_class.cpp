#include "core/tokenizer/char_class.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/tokenizer/properties.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

constexpr int kMaxDepth = 32;

ClassAtom single(std::uint32_t c) { return {CodePointSet::of(c, c), c}; }

ClassAtom set_atom(CodePointSet set, bool negated) {
  return {negated ? set.complement() : std::move(set), std::nullopt};
}

/// \p{name}, \p{^name} or \P{name}, with the cursor behind the p.
ClassAtom read_property(PatternCursor& cursor, bool negated, bool in_class) {
  const std::size_t close = cursor.text.find('}', cursor.at);
  if (cursor.peek() != '{' || close == std::string_view::npos) {
    cursor.refuse("\\p");
  }
  std::string_view name = cursor.text.substr(cursor.at + 1, close - cursor.at - 1);
  if (name.starts_with('^')) {
    negated = !negated;
    name.remove_prefix(1);
  }
  auto set = in_class ? property_set(name) : lone_property_set(name);
  if (!set) {
    cursor.refuse(concat("\\p{", name, "}"));
  }
  cursor.at = close + 1;
  return set_atom(std::move(*set), negated);
}

/// Up to `most` hexadecimal digits at the cursor.
std::uint32_t read_hex(PatternCursor& cursor, std::size_t least, std::size_t most) {
  std::uint32_t value = 0;
  std::size_t digits = 0;
  for (; digits < most; ++digits) {
    const char c = cursor.peek();
    const std::string_view all = "0123456789abcdef";
    const std::size_t digit = all.find(c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c);
    if (cursor.done() || digit == std::string_view::npos) {
      break;
    }
    value = value * 16 + static_cast<std::uint32_t>(digit);
    ++cursor.at;
  }
  if (digits < least || value > 0x10FFFF) {
    cursor.refuse("a code point in hexadecimal digits");
  }
  return value;
}

/// \xHH or \x{H...}, with the cursor behind the x.
std::uint32_t read_x(PatternCursor& cursor) {
  if (cursor.peek() == '{') {
    ++cursor.at;
    const std::uint32_t value = read_hex(cursor, 1, 8);
    if (cursor.peek() != '}') {
      cursor.refuse("\\x{");
    }
    ++cursor.at;
    return value;
  }
  const std::uint32_t value = read_hex(cursor, 1, 2);
  // Above ASCII it would be one byte of a character.
  if (value >= 0x80) {
    cursor.refuse("\\x of a byte above 7F");
  }
  return value;
}

/// A character that an escape names by a letter.
std::optional<std::uint32_t> control_character(char c, bool in_class) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case 'a':
      return '\a';
    case 'e':
      return 0x1B;
    case 'b':
      return in_class ? std::optional<std::uint32_t>('\b') : std::nullopt;
    default:
      return std::nullopt;
  }
}

const char* shorthand_property(char c) {
  switch (c) {
    case 's':
    case 'S':
      return "space";
    case 'w':
    case 'W':
      return "word";
    case 'd':
    case 'D':
      return "Nd";
    case 'h':
    case 'H':
      return "xdigit";
    default:
      return nullptr;
  }
}

/// Reads the inside of one pair of brackets.
class ClassReader {
 public:
  ClassReader(PatternCursor& cursor, int depth) : cursor_(cursor), depth_(depth) {}

  CodePointSet run() {
    const std::size_t begin = cursor_.at++;
    const bool negated = cursor_.peek() == '^';
    cursor_.at += negated ? 1 : 0;
    // A ] in front is itself a member, if another one closes the class.
    if (cursor_.peek() == ']') {
      if (cursor_.text.find(']', cursor_.at + 1) == std::string_view::npos) {
        cursor_.refuse("[]");
      }
      add(single(cursor_.next()));
    }
    while (cursor_.peek() != ']') {
      if (cursor_.done()) {
        cursor_.refuse(cursor_.text.substr(begin));
      }
      step();
    }
    ++cursor_.at;
    close_side();
    return negated ? left_->complement() : *left_;
  }

 private:
  void step() {
    if (cursor_.starts_with("&&")) {
      cursor_.at += 2;
      close_side();
      return;
    }
    if (cursor_.starts_with("[:") && add_posix()) {
      return;
    }
    if (cursor_.peek() == '[') {
      if (depth_ >= kMaxDepth) {
        cursor_.refuse("classes nested over 32 deep");
      }
      add({ClassReader(cursor_, depth_ + 1).run(), std::nullopt});
      behind_set_ = false;  // - is itself there
      return;
    }
    // Behind one character, and before one, '-' makes a range; at either end and behind a range it
    // is itself.
    const bool last_of_side =
        cursor_.peek(1) == ']' || cursor_.text.substr(cursor_.at + 1).starts_with("&&");
    if (cursor_.peek() == '-' && !last_of_side && (last_ || behind_set_)) {
      if (!last_) {
        cursor_.refuse("- behind a class");
      }
      ++cursor_.at;
      add_range();
      return;
    }
    add(read_member());
  }

  ClassAtom read_member() {
    if (cursor_.peek() == '\\') {
      auto atom = read_escape(cursor_, true);
      if (!atom) {
        cursor_.refuse(cursor_.text.substr(cursor_.at, 2));
      }
      return std::move(*atom);
    }
    return single(cursor_.next());
  }

  void add_range() {
    const std::uint32_t first = *last_;
    if (cursor_.peek() == '[') {
      cursor_.refuse("-[");
    }
    const ClassAtom end = read_member();
    if (!end.single || *end.single < first) {
      cursor_.refuse("a range whose end is no character behind its beginning");
    }
    ranges_.push_back({first, *end.single});
    last_.reset();
    behind_set_ = false;
  }

  /// [:name:] or [:^name:]; false where it is no such thing.
  bool add_posix() {
    const std::size_t close = cursor_.text.find(":]", cursor_.at + 2);
    if (close == std::string_view::npos) {
      return false;
    }
    std::string_view name = cursor_.text.substr(cursor_.at + 2, close - cursor_.at - 2);
    const bool negated = name.starts_with('^');
    name.remove_prefix(negated ? 1 : 0);
    if (name.empty() || name.find_first_not_of("abcdefghijklmnopqrstuvwxyz") != name.npos) {
      return false;
    }
    auto set = posix_set(name);
    if (!set) {
      cursor_.refuse(concat("[:", name, ":]"));
    }
    cursor_.at = close + 2;
    add(set_atom(std::move(*set), negated));
    return true;
  }

  void add(const ClassAtom& atom) {
    const auto& ranges = atom.set.ranges();
    ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
    last_ = atom.single;
    behind_set_ = !atom.single;
  }

  /// One side of && is complete: what was before is cut with it.
  void close_side() {
    CodePointSet side(std::move(ranges_));
    ranges_.clear();
    left_ = left_ ? left_->intersected(side) : std::move(side);
    last_.reset();
    behind_set_ = false;
  }

  PatternCursor& cursor_;
  int depth_;
  std::vector<CodePointRange> ranges_;
  std::optional<CodePointSet> left_;
  std::optional<std::uint32_t> last_;  // the character in front, where it may begin a range
  bool behind_set_ = false;            // in front is an escape or bracket of several characters
};

}  // namespace

std::uint32_t PatternCursor::next() {
  std::size_t length = 0;
  const std::uint32_t c = decode_utf8(text.data() + at, &length);
  at += length;
  return c;
}

void PatternCursor::refuse(std::string_view part) const {
  fail(ErrorCode::kUnsupported, "pattern '", text, "': '", part, "' is not understood");
}

std::optional<ClassAtom> read_escape(PatternCursor& cursor, bool in_class) {
  const char c = cursor.peek(1);
  if (c == 'p' || c == 'P') {
    cursor.at += 2;
    return read_property(cursor, c == 'P', in_class);
  }
  if (const char* name = shorthand_property(c)) {
    cursor.at += 2;
    return set_atom(*(in_class ? property_set(name) : lone_property_set(name)), c < 'a');
  }
  if (const auto control = control_character(c, in_class)) {
    cursor.at += 2;
    return single(*control);
  }
  if (c == 'x') {
    cursor.at += 2;
    return single(read_x(cursor));
  }
  if (c == 'u') {
    cursor.at += 2;
    return single(read_hex(cursor, 4, 4));
  }
  const bool letter_or_digit =
      (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  if (letter_or_digit || c == '\0') {
    return std::nullopt;
  }
  ++cursor.at;
  return single(cursor.next());  // a sign, or a character beyond ASCII: itself
}

CodePointSet read_class(PatternCursor& cursor) { return ClassReader(cursor, 0).run(); }

}  // namespace growmerge::tok
