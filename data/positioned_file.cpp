#include "data/positioned_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

int open_flags(PositionedFile::Mode mode) {
  switch (mode) {
    case PositionedFile::Mode::kRead:
      return O_RDONLY;
    case PositionedFile::Mode::kUpdate:
      return O_RDWR;
    case PositionedFile::Mode::kCreate:
      return O_RDWR | O_CREAT | O_TRUNC;
  }
  return O_RDONLY;
}

}  // namespace

PositionedFile::PositionedFile(std::filesystem::path path, Mode mode)
    : path_(std::move(path)),
      descriptor_(::open(path_.c_str(), open_flags(mode) | O_CLOEXEC, 0644)) {
  // errno, kept before anything else can change it.
  const int error = errno;
  GM_CHECK(descriptor_ >= 0 || error != ENOENT, kNotFound, path_.string(), ": no such file");
  GM_CHECK(descriptor_ >= 0, kIo, path_.string(), ": cannot open: ", std::strerror(error));
}

PositionedFile::~PositionedFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

void PositionedFile::close() {
  // Network file systems tell of a full disk only now, which the destructor could not report.
  const int result = ::close(std::exchange(descriptor_, -1));
  GM_CHECK(result == 0, kIo, path_.string(), ": cannot write: ", std::strerror(errno));
}

void PositionedFile::write_at(std::uint64_t offset, const void* bytes, std::size_t size) {
  const auto* p = static_cast<const std::byte*>(bytes);
  while (size > 0) {
    // pwrite may take less than asked for (at most 2 GiB at a time, or when a signal comes).
    const ssize_t done = ::pwrite(descriptor_, p, size, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) {
      continue;
    }
    GM_CHECK(done > 0, kIo, path_.string(), ": cannot write ", size, " bytes at ", offset, ": ",
             std::strerror(errno));
    p += done;
    offset += static_cast<std::uint64_t>(done);
    size -= static_cast<std::size_t>(done);
  }
}

void PositionedFile::read_at(std::uint64_t offset, void* bytes, std::size_t size) const {
  auto* p = static_cast<std::byte*>(bytes);
  while (size > 0) {
    const ssize_t done = ::pread(descriptor_, p, size, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) {
      continue;
    }
    GM_CHECK(done >= 0, kIo, path_.string(), ": cannot read: ", std::strerror(errno));
    // 0 is the end of the file: shorter than its own records say.
    GM_CHECK(done > 0, kCorrupt, path_.string(), ": file ends at ", offset, ", ", size,
             " more bytes expected");
    p += done;
    offset += static_cast<std::uint64_t>(done);
    size -= static_cast<std::size_t>(done);
  }
}

std::uint64_t PositionedFile::size() const {
  struct stat status {};
  GM_CHECK(::fstat(descriptor_, &status) == 0, kIo, path_.string(), ": ", std::strerror(errno));
  return static_cast<std::uint64_t>(status.st_size);
}

MappedFile PositionedFile::map() const {
  return {path_, descriptor_, size(), MappedFile::Sharing::kShared};
}

}  // namespace growmerge::data
