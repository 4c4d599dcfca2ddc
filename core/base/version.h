// Which growmerge this is, for manifests, reports and --version.
#pragma once

#include <string>

namespace growmerge {

[[nodiscard]] std::string growmerge_version();
/// The commit it was built from, "unknown" outside a work tree.
[[nodiscard]] std::string git_hash();

}  // namespace growmerge
