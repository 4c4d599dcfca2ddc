// Decompression of gzip, zstd, xz and bzip2 behind one interface: a file is one member (gzip's
// word; zstd says frame, xz and bzip2 stream) or several, one after another.
//
// Memory: a window of the size that the file's writer chose: 32 KiB for gzip, up to 2 GiB for zstd
// (`zstd --long=31`), up to 4 GiB for xz, 4 MiB for bzip2. The system gives it page by page, as the
// text fills it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace growmerge::data {

class Decompressor {
 public:
  struct Progress {
    std::size_t consumed = 0;  // of the input
    std::size_t produced = 0;  // of the output
    bool member_done = false;  // what follows in the input is another member
  };
  virtual ~Decompressor() = default;
  /// To be called before the first byte of each member. Errors: kInternal.
  virtual void begin_member() = 0;
  /// Goes on with the member as far as either buffer allows; nothing consumed and nothing produced
  /// means that it needs more input. Errors: kCorrupt saying what is wrong, without the file's
  /// name; kIo where the memory for the window is not there.
  [[nodiscard]] virtual Progress run(std::span<const char> in, std::span<char> out) = 0;
};

struct Compression {
  const char* extension;  // ".gz"
  const char* name;       // "gzip"
  std::unique_ptr<Decompressor> (*start)();
};

/// The kinds that are read.
[[nodiscard]] std::span<const Compression> compressions();
/// The one that a file's name tells, or null.
[[nodiscard]] const Compression* compression_of(const std::filesystem::path& path);

}  // namespace growmerge::data
