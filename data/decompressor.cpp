#include "data/decompressor.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

// zlib and bzip2 count in 32 bits.
unsigned clamp(std::size_t size) {
  return static_cast<unsigned>(std::min<std::size_t>(size, std::size_t{1} << 30));
}

[[noreturn]] void no_memory(const char* name) {
  fail(ErrorCode::kIo, "no memory for the window that this ", name,
       " file needs: pack it again with a smaller one, or use a machine with more memory");
}

class Gzip final : public Decompressor {
 public:
  Gzip() {
    // zlib's code: the largest window, and gzip headers alone (no bare zlib stream).
    constexpr int kGzipOnly = 15 + 16;
    GM_CHECK(inflateInit2(&state_, kGzipOnly) == Z_OK, kInternal, "zlib cannot start");
  }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  ~Gzip() override { inflateEnd(&state_); }

  void begin_member() override { inflateReset(&state_); }

  Progress run(std::span<const char> in, std::span<char> out) override {
    state_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    state_.avail_in = clamp(in.size());
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = clamp(out.size());
    const unsigned given = state_.avail_in;
    const unsigned wanted = state_.avail_out;
    const int result = inflate(&state_, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) {
      no_memory("gzip");
    }
    // Z_BUF_ERROR only says that there was nothing to do.
    GM_CHECK(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR, kCorrupt,
             state_.msg != nullptr ? state_.msg : "unknown error");
    return {given - state_.avail_in, wanted - state_.avail_out, result == Z_STREAM_END};
  }

 private:
  z_stream state_{};
};

class Zstd final : public Decompressor {
 public:
  Zstd() : state_(ZSTD_createDCtx(), &ZSTD_freeDCtx) {
    GM_CHECK(state_ != nullptr, kInternal, "zstd cannot start");
    // By default it refuses what `zstd --long=31` writes, as a guard of servers against strangers.
    const ZSTD_bounds bounds = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
    GM_CHECK(ZSTD_isError(
                 ZSTD_DCtx_setParameter(state_.get(), ZSTD_d_windowLogMax, bounds.upperBound)) == 0,
             kInternal, "zstd cannot be set to long windows");
  }

  void begin_member() override { (void)ZSTD_DCtx_reset(state_.get(), ZSTD_reset_session_only); }

  Progress run(std::span<const char> in, std::span<char> out) override {
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    const std::size_t result = ZSTD_decompressStream(state_.get(), &output, &input);
    if (ZSTD_isError(result) != 0) {
      // Its codes are named in a header for static linking alone; the text is stable.
      if (std::string_view(ZSTD_getErrorName(result)).starts_with("Allocation error")) {
        no_memory("zstd");
      }
      fail(ErrorCode::kCorrupt, ZSTD_getErrorName(result));
    }
    return {input.pos, output.pos, result == 0};
  }

 private:
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> state_;
};

class Xz final : public Decompressor {
 public:
  Xz() = default;
  Xz(const Xz&) = delete;
  Xz& operator=(const Xz&) = delete;
  ~Xz() override { lzma_end(&state_); }

  void begin_member() override {
    // No limit of memory; the buffers of the member before are used again.
    GM_CHECK(lzma_stream_decoder(&state_, UINT64_MAX, LZMA_TELL_UNSUPPORTED_CHECK) == LZMA_OK,
             kInternal, "liblzma cannot start");
  }

  Progress run(std::span<const char> in, std::span<char> out) override {
    state_.next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    state_.avail_in = in.size();
    state_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    state_.avail_out = out.size();
    const lzma_ret result = lzma_code(&state_, LZMA_RUN);
    if (result == LZMA_MEM_ERROR) {
      no_memory("xz");
    }
    GM_CHECK(result == LZMA_OK || result == LZMA_STREAM_END || result == LZMA_BUF_ERROR, kCorrupt,
             text_of(result));
    return {in.size() - state_.avail_in, out.size() - state_.avail_out, result == LZMA_STREAM_END};
  }

 private:
  static const char* text_of(lzma_ret result) {
    switch (result) {
      case LZMA_FORMAT_ERROR:
        return "no xz header";
      case LZMA_OPTIONS_ERROR:
        return "written with options that this liblzma does not know";
      case LZMA_UNSUPPORTED_CHECK:
        return "its kind of checksum is not known to this liblzma";
      default:
        return "checksum or structure is wrong";
    }
  }
  lzma_stream state_ = LZMA_STREAM_INIT;
};

class Bzip2 final : public Decompressor {
 public:
  Bzip2() = default;
  Bzip2(const Bzip2&) = delete;
  Bzip2& operator=(const Bzip2&) = delete;
  ~Bzip2() override { stop(); }

  void begin_member() override {
    stop();
    constexpr int kSilent = 0;
    constexpr int kFast = 0;  // and not in little memory
    GM_CHECK(BZ2_bzDecompressInit(&state_, kSilent, kFast) == BZ_OK, kInternal,
             "bzip2 cannot start");
    running_ = true;
  }

  Progress run(std::span<const char> in, std::span<char> out) override {
    state_.next_in = const_cast<char*>(in.data());
    state_.avail_in = clamp(in.size());
    state_.next_out = out.data();
    state_.avail_out = clamp(out.size());
    const unsigned given = state_.avail_in;
    const unsigned wanted = state_.avail_out;
    const int result = BZ2_bzDecompress(&state_);
    if (result == BZ_MEM_ERROR) {
      no_memory("bzip2");
    }
    GM_CHECK(result == BZ_OK || result == BZ_STREAM_END, kCorrupt,
             result == BZ_DATA_ERROR_MAGIC ? "no bzip2 header" : "checksum or structure is wrong");
    return {given - state_.avail_in, wanted - state_.avail_out, result == BZ_STREAM_END};
  }

 private:
  void stop() {
    if (running_) {
      BZ2_bzDecompressEnd(&state_);
      state_ = {};
      running_ = false;
    }
  }
  bz_stream state_{};
  bool running_ = false;
};

template <class T>
std::unique_ptr<Decompressor> start() {
  return std::make_unique<T>();
}

constexpr Compression kCompressions[] = {{".gz", "gzip", start<Gzip>},
                                         {".zst", "zstd", start<Zstd>},
                                         {".xz", "xz", start<Xz>},
                                         {".bz2", "bzip2", start<Bzip2>}};

}  // namespace

std::span<const Compression> compressions() { return kCompressions; }

const Compression* compression_of(const std::filesystem::path& path) {
  const std::filesystem::path extension = path.extension();
  const auto* found =
      std::find_if(std::begin(kCompressions), std::end(kCompressions),
                   [&](const Compression& kind) { return extension == kind.extension; });
  return found == std::end(kCompressions) ? nullptr : found;
}

}  // namespace growmerge::data
