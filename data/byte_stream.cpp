#include "data/byte_stream.h"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "core/base/error.h"

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

/// gzip, also of several members one after another (as bgzip and `cat a.gz b.gz` write).
class GzipStream final : public ByteStream {
 public:
  explicit GzipStream(std::filesystem::path path) : file_(std::move(path)), input_(kBufferBytes) {
    // zlib's code: the largest window, and gzip headers alone (no bare zlib stream).
    constexpr int kGzipOnly = 15 + 16;
    GM_CHECK(inflateInit2(&state_, kGzipOnly) == Z_OK, kInternal, "zlib cannot start");
  }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;
  ~GzipStream() override { inflateEnd(&state_); }

  std::size_t read(char* bytes, std::size_t size) override {
    state_.next_out = reinterpret_cast<Bytef*>(bytes);
    state_.avail_out = static_cast<uInt>(std::min<std::size_t>(size, 1 << 30));
    const uInt wanted = state_.avail_out;
    // Until there is a byte: callers take 0 for the end.
    while (state_.avail_out == wanted) {
      if (state_.avail_in == 0) {
        state_.next_in = reinterpret_cast<Bytef*>(input_.data());
        state_.avail_in = static_cast<uInt>(file_.read(input_.data(), input_.size()));
        if (state_.avail_in == 0) {
          // An empty file is no gzip file; what ends inside a member was cut off.
          GM_CHECK(between_members_ && file_.file_bytes_read() > 0, kCorrupt, file_.path().string(),
                   ": gzip data ends early, after ", file_.file_bytes_read(),
                   " bytes: the file is truncated");
          return 0;
        }
      }
      if (between_members_) {
        inflateReset(&state_);
        between_members_ = false;
      }
      const int result = inflate(&state_, Z_NO_FLUSH);
      // Z_BUF_ERROR only says that it wants more input, which the next round reads.
      GM_CHECK(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR, kCorrupt,
               file_.path().string(), ": damaged gzip data before byte ", file_.file_bytes_read(),
               ": ", state_.msg != nullptr ? state_.msg : "unknown error");
      between_members_ = result == Z_STREAM_END;
    }
    return wanted - state_.avail_out;
  }
  std::uint64_t file_bytes_read() const override { return file_.file_bytes_read(); }

 private:
  PlainStream file_;
  std::vector<char> input_;
  z_stream state_{};
  bool between_members_ = true;
};

class ZstdStream final : public ByteStream {
 public:
  explicit ZstdStream(std::filesystem::path path)
      : file_(std::move(path)), state_(ZSTD_createDCtx(), &ZSTD_freeDCtx), input_(kBufferBytes) {
    GM_CHECK(state_ != nullptr, kInternal, "zstd cannot start");
  }

  std::size_t read(char* bytes, std::size_t size) override {
    ZSTD_outBuffer out{bytes, size, 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !drain_) {
        in_ = {input_.data(), file_.read(input_.data(), input_.size()), 0};
        if (in_.size == 0) {
          GM_CHECK(frame_done_ && file_.file_bytes_read() > 0, kCorrupt, file_.path().string(),
                   ": zstd data ends early, after ", file_.file_bytes_read(),
                   " bytes: the file is truncated");
          return 0;
        }
      }
      const std::size_t result = ZSTD_decompressStream(state_.get(), &out, &in_);
      GM_CHECK(ZSTD_isError(result) == 0, kCorrupt, file_.path().string(),
               ": damaged zstd data before byte ", file_.file_bytes_read(), ": ",
               ZSTD_getErrorName(result));
      // 0 is the end of a frame; another may follow, as with gzip's members.
      frame_done_ = result == 0;
      drain_ = out.pos == out.size && !frame_done_;  // more output may be waiting inside
    }
    return out.pos;
  }
  std::uint64_t file_bytes_read() const override { return file_.file_bytes_read(); }

 private:
  PlainStream file_;
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> state_;
  std::vector<char> input_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool frame_done_ = false;
  bool drain_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> ByteStream::open(const std::filesystem::path& path) {
  if (path.extension() == ".gz") {
    return std::make_unique<GzipStream>(path);
  }
  if (path.extension() == ".zst") {
    return std::make_unique<ZstdStream>(path);
  }
  return std::make_unique<PlainStream>(path);
}

}  // namespace growmerge::data
