#include "distributed/event_file.h"
#include "core/base/files.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/support/paths.h"

namespace growmerge::distributed {
namespace {

TEST(EventFile, RecordsAreFramedByLength) {
  const testing::TemporaryDirectory dir;
  EventFile(dir.path(), 7).write(8, {{"loss", 1.5}});
  std::string bytes;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    EXPECT_TRUE(entry.path().filename().string().starts_with("events.out.tfevents."));
    bytes = read_file(entry.path());
  }
  int records = 0;
  for (std::size_t at = 0; at < bytes.size(); ++records) {
    std::uint64_t length = 0;
    ASSERT_LE(at + 16, bytes.size());
    std::memcpy(&length, bytes.data() + at, 8);
    at += 8 + 4 + length + 4;
    ASSERT_LE(at, bytes.size());
  }
  EXPECT_EQ(records, 3);  // version, session start, scalars
  EXPECT_NE(bytes.find("brain.Event:2"), std::string::npos);
  EXPECT_NE(bytes.find("loss"), std::string::npos);
}

}  // namespace
}  // namespace growmerge::distributed
