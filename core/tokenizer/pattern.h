// Regular expressions of tokenizers: Oniguruma's syntax (what the `tokenizers` package runs), as
// far as pre-tokenizers use it, run by PCRE2 with its JIT.
//
// Classes that depend on a Unicode version (\s, \p{..}) are replaced by explicit ranges of the
// package's version. Syntax that the two read differently (\w, \d, \b, ^, $, nested or intersected
// classes, {n,m}+, properties under (?i)) is refused by name.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace growmerge::tok {

class Pattern {
 public:
  /// Errors: kUnsupported naming what is not understood.
  explicit Pattern(const std::string& regex);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  /// Calls fn(begin, end) for every match in valid UTF-8 text, from left to right. Thread-safe.
  void for_each_match(std::string_view text,
                      const std::function<void(std::size_t, std::size_t)>& fn) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace growmerge::tok
