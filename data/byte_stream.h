// The bytes of a file, decompressed on the way where its name tells so (data/decompressor.h).
//
// A compressed file may hold several members one after another, as `cat a.gz b.gz`, bgzip, pzstd
// and `xz --block` writers make them; zero bytes behind a member are padding (tapes, `dd`) and are
// skipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace growmerge::data {

class ByteStream {
 public:
  /// Errors: kNotFound, kIo.
  [[nodiscard]] static std::unique_ptr<ByteStream> open(const std::filesystem::path& path);
  virtual ~ByteStream() = default;
  /// Reads up to `size` bytes; 0 only at the end. Errors: kCorrupt naming the file when compressed
  /// data is damaged or ends early; kIo.
  [[nodiscard]] virtual std::size_t read(char* bytes, std::size_t size) = 0;
  /// Bytes of the file itself read so far.
  [[nodiscard]] virtual std::uint64_t file_bytes_read() const = 0;
};

}  // namespace growmerge::data
