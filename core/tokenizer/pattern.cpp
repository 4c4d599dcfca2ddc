#include "core/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "core/base/error.h"
#include "core/tokenizer/pattern_translator.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

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
  const std::string translated = translate_pattern(regex);
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (impl_->code == nullptr) {
    std::array<char, 256> text{};
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text.data()), text.size());
    fail(ErrorCode::kUnsupported, "pattern '", regex, "' does not compile: ", text.data());
  }
  pcre2_jit_compile(impl_->code, PCRE2_JIT_COMPLETE);  // where there is no JIT it is interpreted
}

Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

void Pattern::for_each_match(std::string_view text,
                             const std::function<void(std::size_t, std::size_t)>& fn) const {
  const MatchData match;
  std::size_t last_end = std::string_view::npos;
  for (std::size_t at = 0; at <= text.size() && !text.empty();) {
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
    const std::size_t begin = span[0];
    const std::size_t end = span[1];
    // Nothing, right behind the last match: go on at the next character.
    if (begin == end && end == last_end) {
      at = at < text.size() ? at + utf8_length(text[at]) : at + 1;
      continue;
    }
    fn(begin, end);
    at = end;
    last_end = end;
  }
}

}  // namespace growmerge::tok
