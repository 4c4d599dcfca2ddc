// Standard output that shows control characters instead of sending them to the terminal: what
// commands print comes from files that others wrote.
#pragma once

namespace growmerge::launch {

/// From here on, whatever is printed to stdout goes through escape_controls() (core/base/terminal_text.h).
/// Once a process.
void make_stdout_safe();

}  // namespace growmerge::launch
