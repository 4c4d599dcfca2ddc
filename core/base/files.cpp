#include "core/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "core/base/error.h"
#include "core/base/special_files.h"

namespace growmerge {

namespace fs = std::filesystem;

void io_error(const fs::path& path, const char* doing, int error) {
  // A full disk is the one failure here whose cure we know.
  fail(ErrorCode::kIo, doing, " '", path.string(), "': ", std::strerror(error),
       error == ENOSPC || error == EDQUOT ? ": disk full, free some space or choose another --out"
                                          : "");
}

std::string read_file(const fs::path& path) {
  check_no_special_file(path);
  std::ifstream in(path, std::ios::binary);
  GM_CHECK(in.good(), kNotFound, "cannot open '", path.string(),
           "': no such file, or no permission");
  std::ostringstream out;
  out << in.rdbuf();
  GM_CHECK(!in.bad() && !out.bad(), kIo, "reading '", path.string(), "' failed");
  return std::move(out).str();
}

void sync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    io_error(path, "syncing", errno);
  }
  const int status = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // Some file systems cannot sync a directory and say so with EINVAL.
  if (status != 0 && error != EINVAL) {
    io_error(path, "syncing", error);
  }
}

void write_file_atomically(const fs::path& path, const std::string& text) {
  // Written beside its place and renamed, so that whoever reads sees the old text or the new one,
  // whole.
  const fs::path partial = path.string() + ".partial";
  const int fd = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) {
    io_error(partial, "creating", errno);
  }
  std::size_t done = 0;
  int error = 0;
  while (done < text.size() && error == 0) {
    // A signal may end a write early; the rest is written then.
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count >= 0) {
      done += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  // Before the name: else a crash could leave the new name on data that never reached the disk.
  if (error == 0 && ::fsync(fd) != 0) {
    error = errno;
  }
  ::close(fd);
  if (error == 0 && ::rename(partial.c_str(), path.c_str()) != 0) {
    error = errno;
  }
  if (error != 0) {
    ::unlink(partial.c_str());
    io_error(path, "writing", error);
  }
}

FileStamp stamp_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    io_error(path, "reading", errno);
  }
  // To the nanosecond, or two writes within a second would look like one.
  const auto nanoseconds = [](const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  };
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .bytes = static_cast<std::uint64_t>(status.st_size),
          .modified_ns = nanoseconds(status.st_mtim),
          .changed_ns = nanoseconds(status.st_ctim)};
}

std::vector<std::string> visible_files(const fs::path& dir) {
  std::vector<std::string> out;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (auto it = fs::recursive_directory_iterator(dir, options); it != fs::end(it); ++it) {
    const std::string name = it->path().filename().string();
    if (name.starts_with('.')) {
      it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      out.push_back(it->path().lexically_relative(dir).string());
    }
  }
  // A directory's own order is the file system's, and identities are made from this list.
  std::sort(out.begin(), out.end());
  return out;
}

fs::path without_trailing_slash(fs::path path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace growmerge
