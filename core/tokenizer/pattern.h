// Regular expressions of tokenizers: Oniguruma's syntax (what the `tokenizers` package runs), run
// by PCRE2 with its JIT. What is understood is said in pattern_translator.h.
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

  /// Calls fn(begin, end) for every match in valid UTF-8 text, from left to right. A match of
  /// nothing counts, but not where the match before it ends (as in the package). Thread-safe.
  void for_each_match(std::string_view text,
                      const std::function<void(std::size_t, std::size_t)>& fn) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace growmerge::tok
