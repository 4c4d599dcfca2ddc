// The directory that a stage writes: NAME.tmp while it works, NAME once it is finished.
#pragma once

#include <filesystem>
#include <vector>

#include "core/store/file_lock.h"
#include "core/store/manifest.h"

namespace growmerge {

/// The output directory of a stage.
class StageOutput {
 public:
  /// Makes NAME.tmp (keeps what is there when keep_partial) and holds a lock on NAME.tmp/.lock
  /// while this lives, where the file system has locks. An empty directory NAME is taken. Errors:
  /// kInvalidArgument when NAME exists otherwise, when another process is writing it (named with
  /// its host), or when NAME.tmp is somebody's own: a link, a file, or a directory without that
  /// lock and not empty.
  explicit StageOutput(std::filesystem::path name, bool keep_partial = false);
  StageOutput(const StageOutput&) = delete;
  StageOutput& operator=(const StageOutput&) = delete;
  /// Where to write: NAME.tmp.
  [[nodiscard]] const std::filesystem::path& dir() const { return tmp_; }
  /// Hashes the files that are not recorded yet, writes manifest.json, syncs everything, renames.
  /// Only one rank calls it. Errors: kInvalidArgument when NAME.tmp was replaced meanwhile.
  void finish(Manifest manifest);
  /// A file whose hash was computed while writing.
  void record_file(FileRecord record);

 private:
  std::filesystem::path name_;
  std::filesystem::path tmp_;
  std::vector<FileRecord> recorded_;
  FileLock lock_;
};

/// Removes what a crash between the last two steps of finish() left in a finished NAME.
void tidy_finished(const std::filesystem::path& name);

/// Removes NAME.tmp, if it is there. Errors: kInvalidArgument when another process is writing it.
void discard_unfinished(const std::filesystem::path& name);

}  // namespace growmerge
