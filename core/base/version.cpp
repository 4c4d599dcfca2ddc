#include "core/base/version.h"

#include "growmerge_version.h"

namespace growmerge {

std::string growmerge_version() { return GROWMERGE_VERSION; }
std::string git_hash() { return GROWMERGE_GIT_HASH; }

}  // namespace growmerge
