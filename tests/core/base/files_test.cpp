#include "core/base/files.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "core/base/error.h"
#include "core/base/failure.h"
#include "tests/support/expect_error.h"
#include "tests/support/paths.h"

namespace growmerge {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

TEST(SpecialFiles, PipesSocketsAndDevicesAreRefusedByName) {
  const TemporaryDirectory dir;
  const fs::path pipe = dir.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_ERROR(read_file(pipe), kInvalidArgument, pipe.string(), "is a pipe");
  EXPECT_ERROR(read_file("/dev/zero"), kInvalidArgument, "/dev/zero", "is a device");
  fs::create_symlink("/dev/zero", dir.path() / "link");
  EXPECT_ERROR(read_file(dir.path() / "link"), kInvalidArgument, "link", "is a device");
  const fs::path socket_path = dir.path() / "socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(socket_path.string().size(), sizeof address.sun_path);
  std::strcpy(address.sun_path, socket_path.c_str());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_ERROR(read_file(socket_path), kInvalidArgument, "is a socket");
  ::close(fd);
}

TEST(ReadFile, WhatTheSystemRefusesIsAnIoErrorWithItsName) {
  const TemporaryDirectory dir;
  fs::create_symlink("loop", dir.path() / "loop");
  EXPECT_ERROR(read_file(dir.path() / "loop"), kIo, "loop");
  EXPECT_ERROR(read_file(dir.path() / std::string(300, 'x')), kIo, "xxx");
  EXPECT_ERROR(read_file(dir.path() / "nothing"), kNotFound, "nothing");
}

TEST(CodeOf, ExceptionsOfTheSystemAreNoBugs) {
  const TemporaryDirectory dir;
  fs::create_symlink("loop", dir.path() / "loop");
  try {
    (void)fs::exists(dir.path() / "loop" / "x");
    FAIL() << "a loop of links was followed";
  } catch (const std::exception& e) {
    EXPECT_EQ(code_of(e), ErrorCode::kIo) << e.what();
  }
  EXPECT_EQ(code_of(Error(ErrorCode::kCorrupt, "x")), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of(std::logic_error("x")), ErrorCode::kInternal);
}

}  // namespace
}  // namespace growmerge
