#include "core/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <vector>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

/// Rewrites one pattern; see the header.
class Translator {
 public:
  explicit Translator(const std::string& regex) : in_(regex) {}

  std::string run() {
    while (at_ < in_.size()) {
      step();
    }
    return std::move(out_);
  }

 private:
  [[nodiscard]] std::string context() const { return concat("pattern '", in_, "'"); }
  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorCode::kUnsupported, context(), ": '", what, "' is not understood");
  }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0';
  }

  void step() {
    const char c = peek();
    switch (c) {
      case '\\':
        escape(false);
        return;
      case '[':
        char_class();
        return;
      case '(':
        group();
        return;
      case '^':
      case '$':
      case '.':
        refuse(std::string(1, c));
      case '{':
        interval();
        return;
      default:
        out_ += c;
        ++at_;
    }
  }

  void group() {
    out_ += '(';
    ++at_;
    if (peek() != '?') {
      return;
    }
    // What means the same in both dialects; all else is refused, since a pattern that is read in
    // another way cuts other words without a complaint.
    static constexpr std::array<const char*, 6> kKnown = {"?:", "?=", "?!", "?<=", "?<!", "?>"};
    for (const char* known : kKnown) {
      if (in_.compare(at_, std::string(known).size(), known) == 0) {
        out_ += known;
        at_ += std::string(known).size();
        return;
      }
    }
    if (in_.compare(at_, 3, "?i:") == 0) {
      // Only a group of plain literals: case folding of classes differs between the two.
      const std::size_t close = in_.find(')', at_);
      if (close == std::string::npos ||
          in_.substr(at_, close - at_).find_first_of("\\[(") != std::string::npos) {
        refuse("(?i: around more than literals");
      }
      out_.append(in_, at_, close + 1 - at_);
      at_ = close + 1;
      return;
    }
    refuse(in_.substr(at_ - 1, 4));
  }

  void interval() {
    const std::size_t close = in_.find('}', at_);
    const std::string body =
        close == std::string::npos ? std::string() : in_.substr(at_ + 1, close - at_ - 1);
    if (body.empty() || body.find_first_not_of("0123456789,") != std::string::npos ||
        body[0] == ',') {
      refuse("{");
    }
    out_.append(in_, at_, close + 1 - at_);
    at_ = close + 1;
    // {n}+ is possessive to PCRE2, and a repetition of the repetition to Oniguruma.
    if (peek() == '+' || peek() == '?') {
      refuse(in_.substr(at_ - 1, 2));
    }
  }

  void append_ranges(const std::vector<CodePointRange>& ranges) {
    // Classes are spelled out as ranges of the package's Unicode version: PCRE2 has another, in
    // which other characters are letters.
    std::array<char, 48> text{};
    for (const CodePointRange range : ranges) {
      std::snprintf(text.data(), text.size(), "\\x{%X}-\\x{%X}", range.first, range.last);
      out_ += text.data();
    }
  }

  /// Ranges of everything that `ranges` leaves out, but for surrogates.
  static std::vector<CodePointRange> complement(const std::vector<CodePointRange>& ranges) {
    std::vector<CodePointRange> out;
    const auto add = [&out](std::uint32_t first, std::uint32_t last) {
      if (first < 0xD800 && last > 0xDFFF) {
        out.push_back({first, 0xD7FF});
        out.push_back({0xE000, last});
      } else if (first <= last && !(first >= 0xD800 && last <= 0xDFFF)) {
        out.push_back({first, last});
      }
    };
    std::uint32_t next = 0;
    for (const CodePointRange range : ranges) {
      if (range.first > next) {
        add(next, range.first - 1);
      }
      next = range.last + 1;
    }
    if (next <= 0x10FFFF) {
      add(next, 0x10FFFF);
    }
    return out;
  }

  void append_class(std::vector<CodePointRange> ranges, bool negated, bool inside) {
    // Within brackets a class cannot be negated on its own, so its complement is written there.
    if (inside) {
      append_ranges(negated ? complement(ranges) : ranges);
      return;
    }
    out_ += negated ? "[^" : "[";
    append_ranges(ranges);
    out_ += ']';
  }

  void property(bool inside) {
    bool negated = peek(1) == 'P';
    const std::size_t close = in_.find('}', at_);
    if (peek(2) != '{' || close == std::string::npos) {
      refuse(in_.substr(at_, 3));
    }
    std::string name = in_.substr(at_ + 3, close - at_ - 3);
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.erase(0, 1);
    }
    const auto ranges = category_ranges(name);
    if (!ranges) {
      refuse(in_.substr(at_, close + 1 - at_));
    }
    append_class(*ranges, negated, inside);
    at_ = close + 1;
  }

  void escape(bool inside) {
    const char c = peek(1);
    if (c == 'p' || c == 'P') {
      property(inside);
      return;
    }
    if (c == 's' || c == 'S') {
      append_class(space_ranges(), c == 'S', inside);
      at_ += 2;
      return;
    }
    const bool control = c == 'n' || c == 'r' || c == 't' || c == 'f' || c == 'v';
    const bool symbol = c != '\0' && static_cast<unsigned char>(c) < 0x80 &&
                        std::isalnum(static_cast<unsigned char>(c)) == 0;
    if (!control && !symbol) {
      refuse(in_.substr(at_, 2));
    }
    if (c == 'v') {
      out_ += "\\x0B";  // PCRE2 reads \v as any vertical space
    } else {
      out_.append(in_, at_, 2);
    }
    at_ += 2;
  }

  void char_class() {
    const std::size_t begin = at_;
    out_ += '[';
    ++at_;
    if (peek() == '^') {
      out_ += '^';
      ++at_;
    }
    if (peek() == ']') {
      refuse("[]");
    }
    while (peek() != ']') {
      if (at_ >= in_.size()) {
        refuse(in_.substr(begin));
      }
      const char c = peek();
      // Nested classes and intersections, which PCRE2 would read as plain characters.
      if (c == '[' || (c == '&' && peek(1) == '&')) {
        refuse(in_.substr(at_, 2));
      }
      if (c == '\\') {
        escape(true);
      } else {
        out_ += c;
        ++at_;
      }
    }
    out_ += ']';
    ++at_;
  }

  const std::string& in_;
  std::string out_;
  std::size_t at_ = 0;
};

struct MatchData {
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
  MatchData()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        // Up to 8 MB: PCRE2's own 32 kB may be too little for a long run of one class.
        stack(pcre2_jit_stack_create(32 << 10, 8 << 20, nullptr)) {
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchData() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  MatchData(const MatchData&) = delete;
  MatchData& operator=(const MatchData&) = delete;
};

}  // namespace

struct Pattern::Impl {
  std::string source;
  pcre2_code* code = nullptr;
  ~Impl() { pcre2_code_free(code); }
};

Pattern::Pattern(const std::string& regex) : impl_(std::make_unique<Impl>()) {
  impl_->source = regex;
  const std::string translated = Translator(regex).run();
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (impl_->code == nullptr) {
    std::array<char, 256> text{};
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text.data()), text.size());
    fail(ErrorCode::kUnsupported, "pattern '", regex, "' does not compile: ", text.data());
  }
  // A match of nothing would need a rule for how to go on.
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(impl_->code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  GM_CHECK(matches_empty == 0, kUnsupported, "pattern '", regex,
           "' can match nothing, which is not understood");
  pcre2_jit_compile(impl_->code, PCRE2_JIT_COMPLETE);  // where there is no JIT it is interpreted
}

Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

void Pattern::for_each_match(std::string_view text,
                             const std::function<void(std::size_t, std::size_t)>& fn) const {
  const MatchData match;
  for (std::size_t at = 0; at < text.size();) {
    // The text is valid by this function's contract; PCRE2 would look through the rest of it again
    // at each match.
    const int found = pcre2_match(impl_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), at, PCRE2_NO_UTF_CHECK, match.data, match.context);
    if (found == PCRE2_ERROR_NOMATCH) {
      return;
    }
    GM_CHECK(found >= 0, kUnsupported, "pattern '", impl_->source, "': matching failed at byte ",
             at, " (PCRE2 error ", found, ")");
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(match.data);
    // Never empty (see the constructor), so each match moves on.
    fn(span[0], span[1]);
    at = span[1];
  }
}

}  // namespace growmerge::tok
