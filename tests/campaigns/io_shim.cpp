// LD_PRELOAD library of tests/campaigns/faults.py: what disks do, at a chosen moment. Looks at
// files below $IO_SHIM_DIR alone.
//   IO_SHIM_LOG=FILE  appends a line for every operation that can fail
//   IO_SHIM_FAIL=N    the N-th of them fails: no space is left, fsync reports an I/O error
//   IO_SHIM_CRASH=K   power is lost at the K-th rename, which reaches the disk: what was written and
//                     not synced does not
//   IO_SHIM_CLOCK=S   the time of day jumps S seconds ahead and back again, look by look
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <string>

namespace {

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

struct Unsynced {
  std::string path;
  off_t synced_bytes = 0;
};

struct Shim {
  std::mutex mutex;
  const std::string dir = environment("IO_SHIM_DIR");
  const std::string log = environment("IO_SHIM_LOG");
  const long fail_at = std::atol(environment("IO_SHIM_FAIL"));
  const long crash_at = std::atol(environment("IO_SHIM_CRASH"));
  long operations = 0;
  long renames = 0;
  std::map<ino_t, Unsynced> unsynced;
  std::map<ino_t, off_t> synced;
};

Shim& shim() {
  static auto* one = new Shim;  // used until the very end of the process
  return *one;
}

std::string path_of(int fd) {
  char link[64];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  char path[PATH_MAX] = "";
  const ssize_t size = readlink(link, path, sizeof path - 1);
  return size > 0 ? std::string(path, static_cast<std::size_t>(size)) : std::string();
}

bool is_watched(const std::string& path) {
  return !shim().dir.empty() && path.rfind(shim().dir, 0) == 0;
}

/// True where this operation is the one that fails.
bool fails(const char* operation, const std::string& path) {
  Shim& s = shim();
  const std::lock_guard lock(s.mutex);
  ++s.operations;
  if (!s.log.empty()) {
    const std::string line = std::string(operation) + " " + path + "\n";
    const int fd = real<int(const char*, int, ...)>("open")(s.log.c_str(),
                                                            O_WRONLY | O_CREAT | O_APPEND, 0644);
    (void)!real<ssize_t(int, const void*, std::size_t)>("write")(fd, line.data(), line.size());
    close(fd);
  }
  return s.operations == s.fail_at;
}

void note_write(int fd, const std::string& path) {
  struct stat status {};
  if (fstat(fd, &status) == 0) {
    Shim& s = shim();
    const std::lock_guard lock(s.mutex);
    s.unsynced.try_emplace(status.st_ino, Unsynced{path, s.synced[status.st_ino]})
        .first->second.path = path;
  }
}

void note_sync(int fd) {
  struct stat status {};
  if (fstat(fd, &status) == 0) {
    Shim& s = shim();
    const std::lock_guard lock(s.mutex);
    s.unsynced.erase(status.st_ino);
    s.synced[status.st_ino] = status.st_size;
  }
}

/// Whether a write to `fd` goes on.
bool before_write(int fd, const char* operation) {
  const std::string path = path_of(fd);
  if (!is_watched(path)) {
    return true;
  }
  if (fails(operation, path)) {
    errno = ENOSPC;
    return false;
  }
  note_write(fd, path);
  return true;
}

void lose_power(const char* from, const char* to) {
  for (const auto& [inode, file] : shim().unsynced) {
    (void)!real<int(const char*, off_t)>("truncate")(file.path.c_str(), file.synced_bytes);
  }
  real<int(const char*, const char*)>("rename")(from, to);
  _exit(137);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, struct timespec* time) {
  static auto* next = real<int(clockid_t, struct timespec*)>("clock_gettime");
  static const long jump = std::atol(environment("IO_SHIM_CLOCK"));
  static std::atomic<unsigned> looks{0};
  const int result = next(clock, time);
  if (result == 0 && jump != 0 && clock == CLOCK_REALTIME) {
    time->tv_sec += ++looks % 2 == 0 ? jump : -jump;
  }
  return result;
}

ssize_t write(int fd, const void* data, std::size_t size) {
  static auto* next = real<ssize_t(int, const void*, std::size_t)>("write");
  return fd <= 2 || before_write(fd, "write") ? next(fd, data, size) : -1;
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  static auto* next = real<ssize_t(int, const struct iovec*, int)>("writev");
  return fd <= 2 || before_write(fd, "writev") ? next(fd, parts, count) : -1;
}

ssize_t pwrite(int fd, const void* data, std::size_t size, off_t offset) {
  static auto* next = real<ssize_t(int, const void*, std::size_t, off_t)>("pwrite");
  return before_write(fd, "pwrite") ? next(fd, data, size, offset) : -1;
}

ssize_t pwrite64(int fd, const void* data, std::size_t size, off_t offset) {
  return pwrite(fd, data, size, offset);
}

int ftruncate(int fd, off_t size) {
  static auto* next = real<int(int, off_t)>("ftruncate");
  return before_write(fd, "ftruncate") ? next(fd, size) : -1;
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t size) {
  static auto* next = real<int(int, int, off_t, off_t)>("fallocate");
  return before_write(fd, "fallocate") ? next(fd, mode, offset, size) : -1;
}

int fallocate64(int fd, int mode, off_t offset, off_t size) {
  return fallocate(fd, mode, offset, size);
}

int fsync(int fd) {
  static auto* next = real<int(int)>("fsync");
  const std::string path = path_of(fd);
  if (!is_watched(path)) {
    return next(fd);
  }
  if (fails("fsync", path)) {
    errno = EIO;
    return -1;
  }
  const int result = next(fd);
  note_sync(fd);
  return result;
}

int link(const char* from, const char* to) {
  static auto* next = real<int(const char*, const char*)>("link");
  if (is_watched(to) && fails("link", to)) {
    errno = ENOSPC;
    return -1;
  }
  return next(from, to);
}

int mkdir(const char* path, mode_t mode) {
  static auto* next = real<int(const char*, mode_t)>("mkdir");
  if (is_watched(path) && fails("mkdir", path)) {
    errno = ENOSPC;
    return -1;
  }
  return next(path, mode);
}

int rename(const char* from, const char* to) {
  static auto* next = real<int(const char*, const char*)>("rename");
  if (!is_watched(to)) {
    return next(from, to);
  }
  if (fails("rename", to)) {
    errno = ENOSPC;
    return -1;
  }
  Shim& s = shim();
  const std::lock_guard lock(s.mutex);
  if (++s.renames == s.crash_at) {
    lose_power(from, to);
  }
  const int result = next(from, to);
  const std::string before = from;
  for (auto& [inode, file] : s.unsynced) {  // a file, or what lies in a directory
    if (file.path == before || file.path.rfind(before + "/", 0) == 0) {
      file.path = to + file.path.substr(before.size());
    }
  }
  return result;
}

}  // extern "C"
