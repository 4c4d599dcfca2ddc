#include "core/store/stage_output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/version.h"
#include "core/store/hashes.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockName = ".lock";
// What an evaluation leaves to be gone on with, which may have been copied without its lock.
constexpr const char* kIdentityName = ".identity";

/// A directory of that name which no stage has begun is somebody's own: it must not be emptied, nor
/// become part of the output; least of all what a link leads to.
void check_is_ours(const fs::path& tmp) {
  const fs::file_status status = fs::symlink_status(tmp);
  if (!fs::exists(status)) {
    return;
  }
  // Its owner may rename or remove it between two of our calls.
  std::error_code error;
  const bool is_ours =
      fs::is_directory(status) &&
      (fs::exists(tmp / kLockName, error) || fs::exists(tmp / kIdentityName, error) ||
       fs::is_empty(tmp, error) || error == std::errc::no_such_file_or_directory);
  GM_CHECK(is_ours, kInvalidArgument, "'", tmp.string(), "' is ",
           fs::is_symlink(status)     ? "a link"
           : fs::is_directory(status) ? "a directory that growmerge did not make"
                                      : "a file",
           ", and that name is needed while the output is written: move it away, or choose another "
           "--out");
}

/// Makes the directory `tmp` and locks tmp/.lock. A file and not the directory itself, because NFS
/// locks only what is open for writing.
void lock_partial(FileLock& lock, const fs::path& tmp) {
  check_is_ours(tmp);
  const fs::path path = tmp / kLockName;
  // Again where the owner has renamed or removed the directory between two of our calls.
  for (int attempt = 0; attempt < 10; ++attempt) {
    std::error_code error;
    fs::create_directories(tmp, error);
    GM_CHECK(fs::is_directory(tmp), kIo, "cannot create '", tmp.string(), "': ", error.message());
    if (lock.take(path, "'" + tmp.string() + "' is being written",
                  "wait for it, or choose another --out") &&
        (!lock.is_held() || lock.is_at(path))) {
      return;
    }
  }
  fail(ErrorCode::kIo, "cannot lock '", path.string(), "': it is removed again and again");
}

/// Somebody's output, or anything else; an empty directory waits for one.
bool is_taken(const fs::path& name) {
  std::error_code ignored;
  const fs::file_status status = fs::symlink_status(name);
  return fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(name, ignored));
}

}  // namespace

StageOutput::StageOutput(fs::path name, bool keep_partial)
    : name_(without_trailing_slash(std::move(name))), tmp_(name_.string() + ".tmp") {
  GM_CHECK(!name_.empty(), kInvalidArgument, "the output directory has no name: give --out DIR");
  GM_CHECK(!is_taken(name_), kInvalidArgument, "output '", name_.string(),
           "' exists already: choose another --out, or remove it");
  lock_partial(lock_, tmp_);
  if (is_taken(name_)) {  // finished by another process since the check above
    fs::remove_all(tmp_);
    fail(ErrorCode::kInvalidArgument, "output '", name_.string(),
         "' was finished by another process just now");
  }
  if (!keep_partial) {
    for (const auto& entry : fs::directory_iterator(tmp_)) {
      if (entry.path().filename() != kLockName) {
        fs::remove_all(entry.path());
      }
    }
  }
}

void StageOutput::record_file(FileRecord record) {
  std::erase_if(recorded_, [&record](const FileRecord& r) { return r.path == record.path; });
  recorded_.push_back(std::move(record));
}

void StageOutput::finish(Manifest manifest) {
  GM_CHECK(!lock_.is_held() || lock_.is_at(tmp_ / kLockName), kInvalidArgument, "'", tmp_.string(),
           "' was removed or replaced while it was being written: run this stage again");
  manifest.growmerge_version = growmerge_version();
  manifest.git_hash = git_hash();
  manifest.identity = stage_identity(manifest);
  manifest.files.clear();
  for (const std::string& file : visible_files(tmp_)) {
    if (file == kManifestName) {
      continue;  // an interrupted finish() left it
    }
    const fs::path path = tmp_ / file;
    const auto known = std::find_if(recorded_.begin(), recorded_.end(),
                                    [&file](const FileRecord& r) { return r.path == file; });
    if (known != recorded_.end()) {
      const std::uint64_t bytes = fs::file_size(path);
      GM_CHECK(known->bytes == bytes, kInternal, "'", path.string(), "' has ", bytes,
               " bytes, recorded were ", known->bytes);
      manifest.files.push_back(*known);
    } else {
      manifest.files.push_back({file, fs::file_size(path), hash_file(path)});
    }
    sync_path(path);
  }
  for (const FileRecord& record : recorded_) {
    GM_CHECK(fs::exists(tmp_ / record.path), kInternal, "'", (tmp_ / record.path).string(),
             "' was recorded but is not there");
  }
  write_manifest(tmp_, manifest);
  for (const auto& entry : fs::recursive_directory_iterator(tmp_)) {
    if (entry.is_directory()) {
      sync_path(entry.path());
    }
  }
  sync_path(tmp_);
  if (::rename(tmp_.c_str(), name_.c_str()) != 0) {
    io_error(name_, "renaming to", errno);
  }
  for (const FileRecord& record : manifest.files) {
    remember_file_hash(name_ / record.path, record.hash);  // the next stage need not read it for it
  }
  ::unlink((name_ / kLockName).c_str());  // only now: NAME.tmp is ours until it has gone
  sync_path(fs::absolute(name_).parent_path());
}

void tidy_finished(const fs::path& name) {
  std::error_code ignored;  // it harms nobody
  fs::remove(name / kLockName, ignored);
}

void discard_unfinished(const fs::path& name) {
  const fs::path tmp = without_trailing_slash(name).string() + ".tmp";
  if (!fs::exists(tmp)) {
    return;
  }
  FileLock lock;
  lock_partial(lock, tmp);
  fs::remove_all(tmp);
}

}  // namespace growmerge
