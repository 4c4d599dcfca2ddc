// Character classes of patterns as Oniguruma reads them: ranges, escapes, properties, POSIX
// brackets, a class inside a class (a union) and && (an intersection), resolved to a set.
//
// Source: Oniguruma's doc/RE and its class parser (prs_cc in regparse.c), syntax ONIGURUMA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/tokenizer/code_point_set.h"

namespace growmerge::tok {

/// What stands for one character: that character, or any of a set.
struct ClassAtom {
  CodePointSet set;
  std::optional<std::uint32_t> single;  // where the set is one character, spelled as such
};

/// Walks over a pattern.
struct PatternCursor {
  std::string_view text;
  std::size_t at = 0;

  [[nodiscard]] bool done() const { return at >= text.size(); }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at + ahead < text.size() ? text[at + ahead] : '\0';
  }
  [[nodiscard]] bool starts_with(std::string_view prefix) const {
    return text.substr(at).starts_with(prefix);
  }
  /// Reads one character.
  std::uint32_t next();
  /// Errors: kUnsupported, always: the pattern and the part of it that is not understood.
  [[noreturn]] void refuse(std::string_view part) const;
};

/// The escape at the cursor, which moves behind it; nothing, and no move, where it stands for no
/// character (\b, \A, ...). Errors: kUnsupported naming what is not understood.
[[nodiscard]] std::optional<ClassAtom> read_escape(PatternCursor& cursor, bool in_class);
/// The class whose '[' is at the cursor, which moves behind its ']'. Errors: as above.
[[nodiscard]] CodePointSet read_class(PatternCursor& cursor);

}  // namespace growmerge::tok
