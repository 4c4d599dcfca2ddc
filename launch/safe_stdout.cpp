#include "launch/safe_stdout.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>

#include "core/base/terminal_text.h"

namespace growmerge::launch {
namespace {

bool write_all(const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR) {
      return false;
    }
    done += count > 0 ? static_cast<std::size_t>(count) : 0;
  }
  return true;
}

/// For fopencookie(); `cookie` holds the begin of a character whose end comes with the next write.
ssize_t write_escaped(void* cookie, const char* bytes, std::size_t size) {
  auto& begun = *static_cast<std::string*>(cookie);
  const std::string text = std::exchange(begun, {}) + std::string(bytes, size);
  return write_all(escape_controls(text, &begun)) ? static_cast<ssize_t>(size) : 0;
}

}  // namespace

void make_stdout_safe() {
  static std::string begun;
  cookie_io_functions_t functions{};
  functions.write = write_escaped;
  std::FILE* safe = ::fopencookie(&begun, "w", functions);
  if (safe == nullptr) {
    return;
  }
  std::fflush(stdout);
  // Whoever watches a terminal wants each line when it is there.
  std::setvbuf(safe, nullptr, ::isatty(STDOUT_FILENO) == 1 ? _IOLBF : _IOFBF, BUFSIZ);
  stdout = safe;
}

}  // namespace growmerge::launch
