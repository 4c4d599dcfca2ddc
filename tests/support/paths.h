// Where tests find shared data and temporary space. Tests that need data skip by name when it is
// absent.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace growmerge::testing {

/// $GROWMERGE_TEST_DATA or ../shared/data beside the repository, when it exists.
[[nodiscard]] std::optional<std::filesystem::path> shared_data();
/// The repository's root.
[[nodiscard]] std::filesystem::path source_dir();

/// A fresh directory that is removed at the end of its scope.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace growmerge::testing

/// Skips the test, naming what is missing, when the shared data is not there.
#define GM_REQUIRE_SHARED_DATA(variable)                                              \
  const auto variable##_found = ::growmerge::testing::shared_data();                  \
  if (!variable##_found) {                                                            \
    GTEST_SKIP() << "needs the shared data (../shared/data or $GROWMERGE_TEST_DATA)"; \
  }                                                                                   \
  const std::filesystem::path variable = *variable##_found
