// Files mapped for reading, and what happens when one of them is cut short meanwhile.
//
// Touching a page that its file no longer has is SIGBUS: nothing a caller could check before, and
// nothing it could go on from. The process ends there as it does for damaged files, with exit code
// 3 and the file's name, and what it had begun is left as after a kill. Costs nothing while
// reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace growmerge {

class MappedFile {
 public:
  enum class Sharing { kPrivate, kShared };

  MappedFile() = default;
  /// Maps `bytes` of an open file; the descriptor is not needed any more then. Nothing where bytes
  /// is 0. Errors: kIo.
  MappedFile(const std::filesystem::path& path, int descriptor, std::uint64_t bytes,
             Sharing sharing);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  [[nodiscard]] const std::byte* data() const { return data_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::size_t place_ = 0;  // among the mappings that the handler knows
};

/// Ends the process with a message, as above, where a mapped file was cut short; any other SIGBUS
/// is what it was. Once a process, before MPI looks at its handlers.
void watch_mapped_files();

}  // namespace growmerge
