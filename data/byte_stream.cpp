#include "data/byte_stream.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "data/decompressor.h"

namespace growmerge::data {
namespace {

constexpr std::size_t kBufferBytes = 1 << 18;

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(std::filesystem::path path)
      : path_(std::move(path)), file_(std::fopen(path_.c_str(), "rbe"), &std::fclose) {
    // errno, kept before anything else can change it.
    const int error = errno;
    GM_CHECK(file_ != nullptr || error != ENOENT, kNotFound, path_.string(), ": no such file");
    GM_CHECK(file_ != nullptr, kIo, path_.string(), ": cannot open: ", std::strerror(error));
  }
  std::size_t read(char* bytes, std::size_t size) override {
    const std::size_t done = std::fread(bytes, 1, size, file_.get());
    GM_CHECK(done > 0 || std::ferror(file_.get()) == 0, kIo, path_.string(),
             ": cannot read: ", std::strerror(errno));
    read_ += done;
    return done;
  }
  std::uint64_t file_bytes_read() const override { return read_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::uint64_t read_ = 0;
};

class DecompressingStream final : public ByteStream {
 public:
  DecompressingStream(std::filesystem::path path, const Compression& kind)
      : file_(std::move(path)), kind_(kind), decompressor_(kind.start()), buffer_(kBufferBytes) {}

  std::size_t read(char* bytes, std::size_t size) override {
    // Until there is a byte: callers take 0 for the end.
    for (;;) {
      if (!inside_member_ && !begin_member()) {
        return 0;
      }
      GM_CHECK(!input_.empty() || is_draining_ || fill(), kCorrupt, file_.path().string(), ": ",
               kind_.name, " data ends early, after ", file_.file_bytes_read(),
               " bytes: the file is truncated");
      const Decompressor::Progress progress = run(bytes, size);
      input_ = input_.subspan(progress.consumed);
      inside_member_ = !progress.member_done;
      // What did not fit waits inside, and comes without further input.
      is_draining_ = inside_member_ && progress.produced == size;
      if (progress.produced > 0) {
        return progress.produced;
      }
    }
  }
  std::uint64_t file_bytes_read() const override { return file_.file_bytes_read(); }

 private:
  bool fill() {
    input_ = {buffer_.data(), file_.read(buffer_.data(), buffer_.size())};
    return !input_.empty();
  }

  /// False at the end of the file. An empty file holds no member and was cut off: read() says so.
  bool begin_member() {
    while (!input_.empty() || fill()) {
      // No format begins with a zero byte. Before the first member they are damage, not padding.
      const bool is_padding = is_behind_member_ && input_.front() == 0;
      if (!is_padding) {
        break;
      }
      const auto text = std::find_if(input_.begin(), input_.end(), [](char c) { return c != 0; });
      input_ = input_.subspan(static_cast<std::size_t>(text - input_.begin()));
    }
    if (input_.empty() && is_behind_member_) {
      return false;
    }
    decompressor_->begin_member();
    inside_member_ = is_behind_member_ = true;
    return true;
  }

  Decompressor::Progress run(char* bytes, std::size_t size) {
    try {
      return decompressor_->run(input_, {bytes, size});
    } catch (const Error& e) {
      throw Error(e.code(), concat(file_.path().string(), ": ",
                                   e.code() == ErrorCode::kCorrupt ? "damaged " : "", kind_.name,
                                   " data before byte ", file_.file_bytes_read(), ": ", e.what()));
    }
  }

  PlainStream file_;
  const Compression& kind_;
  std::unique_ptr<Decompressor> decompressor_;
  std::vector<char> buffer_;
  std::span<const char> input_;  // of buffer_, what is not consumed
  bool inside_member_ = false;
  bool is_behind_member_ = false;  // of any member: the first has begun
  bool is_draining_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> ByteStream::open(const std::filesystem::path& path) {
  if (const Compression* kind = compression_of(path)) {
    return std::make_unique<DecompressingStream>(path, *kind);
  }
  return std::make_unique<PlainStream>(path);
}

}  // namespace growmerge::data
