#include "eval/windows.h"

#include <algorithm>

#include "core/base/error.h"

namespace growmerge::eval {

std::vector<Window> make_windows(std::int64_t length, std::int64_t first_scored,
                                 std::int64_t context, std::int64_t stride) {
  GM_CHECK(context >= 1 && stride >= 1 && stride <= context, kInvalidArgument, "windows: context ",
           context, " and stride ", stride, ", expected 1 <= stride <= context");
  GM_ASSERT(first_scored >= 1);
  std::vector<Window> windows;
  const std::int64_t last = length - 1;  // index of the last token
  std::int64_t next = first_scored;      // first token not scored yet
  for (std::int64_t begin = 0; next <= last; begin += stride) {
    const std::int64_t end = std::min(begin + context, last);
    if (end >= next) {
      windows.push_back({begin, end, next});
      next = end + 1;
    }
  }
  return windows;
}

}  // namespace growmerge::eval
