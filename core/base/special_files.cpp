#include "core/base/special_files.h"

#include <sys/stat.h>

#include <cerrno>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {

namespace fs = std::filesystem;

void check_no_special_file(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) {
      io_error(path, "opening", errno);
    }
    return;  // whoever opens it says that it is not there
  }
  const char* kind = S_ISFIFO(status.st_mode)                             ? "a pipe"
                     : S_ISSOCK(status.st_mode)                           ? "a socket"
                     : S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ? "a device"
                                                                          : nullptr;
  GM_CHECK(kind == nullptr, kInvalidArgument, "'", path.string(), "' is ", kind,
           ", expected a file: write what it gives to a file first");
}

}  // namespace growmerge
