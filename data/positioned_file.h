// Plain file reads and writes at given offsets, with errors that name the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "core/base/mapped_file.h"

namespace growmerge::data {

class PositionedFile {
 public:
  enum class Mode { kRead, kUpdate, kCreate };  // kUpdate: an existing file; kCreate: emptied

  /// Errors: kNotFound, kIo.
  PositionedFile(std::filesystem::path path, Mode mode);
  PositionedFile(const PositionedFile&) = delete;
  PositionedFile& operator=(const PositionedFile&) = delete;
  ~PositionedFile();

  /// Errors: kIo (disk full, ...).
  void write_at(std::uint64_t offset, const void* bytes, std::size_t size);
  /// Errors: kCorrupt when the file ends before, kIo.
  void read_at(std::uint64_t offset, void* bytes, std::size_t size) const;
  [[nodiscard]] std::uint64_t size() const;
  /// Maps the whole file for reading. The mapping outlives this object.
  [[nodiscard]] MappedFile map() const;
  /// Closes; a failure that the system reports only now is an Error (kIo).
  void close();

 private:
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace growmerge::data
