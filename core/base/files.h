// Reading, writing and naming files: what every room does with the file system, with errors that
// say what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace growmerge {

/// Throws kIo: "DOING 'PATH': what errno `error` means", with advice where the disk is full.
[[noreturn]] void io_error(const std::filesystem::path& path, const char* doing, int error);

/// A whole file. Errors: kNotFound, kIo.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);
/// fsync of a file or directory. Errors: kIo.
void sync_path(const std::filesystem::path& path);
/// Writes a small file atomically: temporary name, sync, rename. Errors: kIo.
void write_file_atomically(const std::filesystem::path& path, const std::string& text);

/// What tells cheaply whether a file may have changed: which one it is, its size, and two times. A
/// program can set the modification time as it likes, the time of change it cannot.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};
/// Errors: kIo.
[[nodiscard]] FileStamp stamp_of(const std::filesystem::path& path);

/// Regular files below dir as sorted paths relative to it; hidden ones are left out.
[[nodiscard]] std::vector<std::string> visible_files(const std::filesystem::path& dir);
/// "a/b/" names the same directory as "a/b".
[[nodiscard]] std::filesystem::path without_trailing_slash(std::filesystem::path path);

}  // namespace growmerge
