#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "launch/cli.h"

int main(int argc, char** argv) {
  const int code = growmerge::launch::run_command_line(argc, argv);
#ifdef __SANITIZE_ADDRESS__  // its report of leaks is written at exit
  return code;
#else
  // All of ours is closed by now; LibTorch would take 0.1 s to unregister its operators one by one.
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(code);
#endif
}
