#include "core/base/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <utility>

#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;

MappedFile map(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  MappedFile out(path, descriptor, fs::file_size(path), MappedFile::Sharing::kPrivate);
  ::close(descriptor);
  return out;
}

TEST(MappedFile, MovesAndIsEmptyWhereTheFileIs) {
  const testing::TemporaryDirectory dir;
  std::ofstream(dir.path() / "f") << "text";
  std::ofstream(dir.path() / "none");
  MappedFile first = map(dir.path() / "f");
  const MappedFile second = std::move(first);
  EXPECT_EQ(first.data(), nullptr);
  ASSERT_EQ(second.size(), 4U);
  EXPECT_EQ(second.data()[3], std::byte{'t'});
  EXPECT_EQ(map(dir.path() / "none").data(), nullptr);
  EXPECT_ERROR(MappedFile("f", -1, 1, MappedFile::Sharing::kShared), kIo, "mapping 'f'");
}

// Named so that GoogleTest runs it before there are threads.
TEST(MappedFileDeathTest, AFileThatIsCutShortEndsTheProcessWithItsName) {
  const testing::TemporaryDirectory dir;
  const fs::path path = dir.path() / "weights";
  std::ofstream(path) << std::string(100'000, 'x');
  const auto read_cut = [&path] {
    watch_mapped_files();
    const MappedFile other = map(path);
    const MappedFile file = map(path);
    fs::resize_file(path, 10);
    const volatile std::byte* last = file.data() + 99'999;
    (void)*last;
  };
  EXPECT_EXIT(read_cut(), ::testing::ExitedWithCode(3), "weights' was cut short");
  const auto other_fault = [] {
    watch_mapped_files();
    std::raise(SIGBUS);
  };
  EXPECT_EXIT(other_fault(), ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace growmerge
