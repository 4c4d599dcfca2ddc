// The little of HDF5 that token shards need: attributes, and contiguous one-dimensional data sets
// whose place in the file is known, so that tokens are read and written with plain file operations
// (HDF5 holds one lock around every call).
//
// New files are of HDF5 1.8's layout, whose superblock and headers bear checksums, which the
// library compares before it believes what they say. Older shards have none, and HDF5 can crash on
// a single changed byte: those are walked by a child process first, whose crash is an Error here.
//
// Files are written without time stamps, so equal contents are equal bytes. File locking is off:
// shards are read-only once written, and locks fail on some network file systems. Every HDF5
// failure becomes an Error that names the file and what HDF5 said.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace growmerge::data {

enum class Hdf5Type { kUint16, kUint32, kUint64 };

[[nodiscard]] std::size_t hdf5_type_bytes(Hdf5Type type);

struct Hdf5Dataset {
  Hdf5Type type = Hdf5Type::kUint32;
  std::uint64_t size = 0;         // elements
  std::uint64_t file_offset = 0;  // bytes from the start of the file
};

class Hdf5File {
 public:
  /// Errors: kIo when the file cannot be made.
  [[nodiscard]] static Hdf5File create(const std::filesystem::path& path);
  /// Errors: kNotFound; kCorrupt when it is no HDF5 file or is truncated.
  [[nodiscard]] static Hdf5File open(const std::filesystem::path& path, bool writable);
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&&) = delete;
  ~Hdf5File();

  /// Makes a contiguous little-endian data set of `size` > 0 elements; its space is allocated, its
  /// contents are undefined until written at the returned offset.
  Hdf5Dataset create_dataset(const std::string& name, Hdf5Type type, std::uint64_t size);
  /// Errors: kCorrupt when absent, not one-dimensional, not contiguous, or of another type.
  [[nodiscard]] Hdf5Dataset dataset(const std::string& name) const;

  void set_attribute(const std::string& name, std::int64_t value);
  void set_attribute(const std::string& name, const std::string& value);
  [[nodiscard]] bool has_attribute(const std::string& name) const;
  /// Errors: kCorrupt when absent or of another type.
  [[nodiscard]] std::int64_t int_attribute(const std::string& name) const;
  [[nodiscard]] std::string string_attribute(const std::string& name) const;

  /// Flushes and closes; the destructor does the same but cannot report a full disk.
  void close();

 private:
  Hdf5File(std::filesystem::path path, std::int64_t id) : path_(std::move(path)), id_(id) {}
  std::filesystem::path path_;
  std::int64_t id_;  // hid_t
};

}  // namespace growmerge::data
