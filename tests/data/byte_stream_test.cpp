#include "data/byte_stream.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "data/decompressor.h"
#include "tests/data/text_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge::data {
namespace {

using Pack = std::string (*)(const std::string& text);

struct Kind {
  const char* extension;
  Pack pack;
};
constexpr Kind kKinds[] = {
    {".gz", gzip_bytes}, {".zst", zstd_bytes}, {".xz", xz_bytes}, {".bz2", bzip2_bytes}};

std::string unpacked(const std::filesystem::path& path, std::size_t step = 10007) {
  const auto stream = ByteStream::open(path);
  std::string text;
  std::string buffer(step, '\0');
  while (const std::size_t size = stream->read(buffer.data(), buffer.size())) {
    text.append(buffer, 0, size);
  }
  EXPECT_EQ(stream->file_bytes_read(), std::filesystem::file_size(path));
  return text;
}

TEST(ByteStream, EveryKindIsTried) {
  ASSERT_EQ(compressions().size(), std::size(kKinds));
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    EXPECT_STREQ(compressions()[i].extension, kKinds[i].extension);
  }
}

TEST(ByteStream, MembersAndPaddingReadAsOneText) {
  const testing::TemporaryDirectory dir;
  const std::string a = json_lines(600, "en");  // more than a buffer
  const std::string b = json_lines(7, "sv");
  for (const auto& [extension, pack] : kKinds) {
    const std::string one = pack(a);
    const std::string two = pack(b);
    const std::string none = pack("");
    const std::vector<std::pair<std::string, std::string>> cases{
        {one, a},
        {none, ""},
        {one + two, a + b},
        {none + two + none + one + none, b + a},
        {one + std::string(1, '\0'), a},
        {one + std::string(1 << 20, '\0'), a},  // more than a buffer
        {one + std::string(512, '\0') + two + std::string(3, '\0'), a + b},
    };
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const auto path = dir.path() / ("a" + std::string(extension));
      write_text(path, cases[i].first);
      EXPECT_TRUE(unpacked(path) == cases[i].second) << extension << ", case " << i;
    }
  }
}

TEST(ByteStream, BuffersOfAnySizeGiveTheSame) {
  const testing::TemporaryDirectory dir;
  const std::string text = json_lines(20, "en");
  for (const auto& [extension, pack] : kKinds) {
    const auto path = dir.path() / ("a" + std::string(extension));
    write_text(path, pack(text) + pack(text));
    for (const std::size_t step : {1, 2, 7, 4096}) {
      EXPECT_TRUE(unpacked(path, step) == text + text) << extension << ", " << step;
    }
  }
}

TEST(ByteStream, ZstdWithLongWindowsIsRead) {
  const testing::TemporaryDirectory dir;
  const std::string text = json_lines(100, "en");
  const std::string packed = zstd_long_bytes(text);
  // The frame asks for a window of 2 GiB, which zstd refuses unless it is told otherwise.
  std::string out(text.size(), '\0');
  ZSTD_DCtx* state = ZSTD_createDCtx();
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  ZSTD_outBuffer buffer{out.data(), out.size(), 0};
  ASSERT_NE(ZSTD_isError(ZSTD_decompressStream(state, &buffer, &in)), 0U);
  ZSTD_freeDCtx(state);
  write_text(dir.path() / "a.zst", packed + zstd_bytes("short") + packed);
  EXPECT_TRUE(unpacked(dir.path() / "a.zst") == text + "short" + text);
}

TEST(ByteStream, WhatIsCutOrDamagedIsNamed) {
  const testing::TemporaryDirectory dir;
  const std::string text = json_lines(300, "en");
  for (const auto& [extension, pack] : kKinds) {
    const std::string name = "a" + std::string(extension);
    const std::string bytes = pack(text);
    for (const std::size_t size : {std::size_t{0}, std::size_t{3}, bytes.size() - 1}) {
      for (const std::string& front : {std::string(), size == 0 ? std::string() : pack("first")}) {
        write_text(dir.path() / name, front + bytes.substr(0, size));
        EXPECT_ERROR(unpacked(dir.path() / name), kCorrupt, name, "truncated");
      }
    }
    std::string damaged = bytes;
    // More than a byte: what ZSTD_compress() writes has no checksum.
    for (std::size_t i = 0; i < 40; ++i) {
      damaged[bytes.size() / 2 + i] ^= 0x5A;
    }
    for (const std::string& whole : {damaged, "{" + bytes, std::string(4, '\0') + bytes,
                                     bytes + "rubbish behind the member"}) {
      write_text(dir.path() / name, whole);
      EXPECT_ERROR(unpacked(dir.path() / name), kCorrupt, name, "damaged");
    }
  }
}

}  // namespace
}  // namespace growmerge::data
