#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "core/base/error.h"
#include "launch/cli.h"

namespace {

/// What was printed may have been the whole work (--help, --print-config): a disk that had no room
/// for it is a failure.
int flush_output(int code) {
  std::cout.flush();
  errno = 0;
  const bool is_written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  const int error = errno;
  std::fflush(nullptr);
  if (is_written || code != 0) {
    return code;
  }
  std::fprintf(stderr, "error: writing standard output: %s\n",
               error != 0 ? std::strerror(error) : "not all of it was taken");
  return growmerge::exit_code(growmerge::ErrorCode::kIo);
}

}  // namespace

int main(int argc, char** argv) {
  const int code = flush_output(growmerge::launch::run_command_line(argc, argv));
#ifdef __SANITIZE_ADDRESS__  // its report of leaks is written at exit
  return code;
#else
  // All of ours is closed by now; LibTorch would take 0.1 s to unregister its operators one by one.
  std::_Exit(code);
#endif
}
