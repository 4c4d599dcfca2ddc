#include "tests/support/paths.h"

#include <unistd.h>

#include <cstdlib>

namespace growmerge::testing {

std::filesystem::path source_dir() {
  const char* dir = std::getenv("GROWMERGE_SOURCE_DIR");
  return dir != nullptr ? std::filesystem::path(dir) : std::filesystem::current_path();
}

std::optional<std::filesystem::path> shared_data() {
  const char* given = std::getenv("GROWMERGE_TEST_DATA");
  const std::filesystem::path dir =
      given != nullptr ? std::filesystem::path(given) : source_dir() / "../shared/data";
  if (std::filesystem::exists(dir / "models")) {
    return std::filesystem::weakly_canonical(dir);
  }
  return std::nullopt;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "growmerge-test-XXXXXX").string();
  path_ = mkdtemp(pattern.data());
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace growmerge::testing
