// Cutting a token sequence into windows of the context length so that every token is scored once.
//
// The sequence is s[0..n): s[0] is the prefix (BOS) and never scored. A window feeds inputs
// [begin, end) and predicts s[begin+1 .. end+1). The first window scores all it predicts; each
// later one begins `stride` inputs after its predecessor and scores only what was not scored yet,
// so a scored token has at least context - stride tokens of context where the sequence has them.
#pragma once

#include <cstdint>
#include <vector>

namespace growmerge::eval {

struct Window {
  std::int64_t begin = 0;  // first input
  std::int64_t end = 0;    // one past the last input: s[end] is the last token predicted
  std::int64_t first_scored =
      0;  // index in s of the first token this window scores; the last is end
};

/// Windows over a sequence of `length` tokens (prefix included), scoring from token `first_scored`
/// (>= 1) on. Empty when nothing is to be scored. Requires 1 <= stride <= context.
[[nodiscard]] std::vector<Window> make_windows(std::int64_t length, std::int64_t first_scored,
                                               std::int64_t context, std::int64_t stride);

}  // namespace growmerge::eval
