// A lock file that says who holds it.
#pragma once

#include <filesystem>
#include <string>

namespace growmerge {

/// Held until it goes. A crash lets go of it; the file stays and harms nobody.
class FileLock {
 public:
  FileLock() = default;
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  /// Makes `path` and locks it; false where its directory is not there. Where the file system has
  /// no locks, none is held. Errors: kInvalidArgument where another process holds it: "WHAT by
  /// another process (process 7 on HOST): ADVICE"; kIo.
  bool take(const std::filesystem::path& path, const std::string& what, const std::string& advice);
  [[nodiscard]] bool is_held() const { return descriptor_ >= 0; }
  /// Whether `path` still names the file that is locked.
  [[nodiscard]] bool is_at(const std::filesystem::path& path) const;
  void release();

 private:
  int descriptor_ = -1;
};

}  // namespace growmerge
