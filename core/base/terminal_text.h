// Text that others wrote, made safe to show.
#pragma once

#include <string>
#include <string_view>

namespace growmerge {

/// Control characters but newline and tab, and bytes that are not UTF-8, become \x1b or \u0085, so
/// that none of them commands the terminal. An unfinished UTF-8 sequence at the end is moved to
/// `*unfinished` where that is given.
[[nodiscard]] std::string escape_controls(std::string_view text, std::string* unfinished = nullptr);

}  // namespace growmerge
