#include "core/store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {
namespace {

std::string this_process() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return concat("process ", ::getpid(), " on ", host);
}

}  // namespace

FileLock::~FileLock() { release(); }

void FileLock::release() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
  descriptor_ = -1;
}

bool FileLock::take(const std::filesystem::path& path, const std::string& what,
                    const std::string& advice) {
  release();
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    if (errno == ENOENT) {
      return false;
    }
    io_error(path, "creating", errno);
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const bool is_taken = errno == EWOULDBLOCK;
    char owner[320] = "";
    const ssize_t count = is_taken ? ::pread(fd, owner, sizeof owner - 1, 0) : 0;
    ::close(fd);
    GM_CHECK(!is_taken, kInvalidArgument, what, " by another process",
             count > 0 ? concat(" (", owner, ")") : std::string(), ": ", advice);
    return true;
  }
  const std::string owner = this_process();  // for the message of another one
  (void)!::ftruncate(fd, 0);
  (void)!::pwrite(fd, owner.data(), owner.size(), 0);
  descriptor_ = fd;
  return true;
}

bool FileLock::is_at(const std::filesystem::path& path) const {
  struct stat named {};
  struct stat opened {};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(descriptor_, &opened) == 0 &&
         named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

}  // namespace growmerge
