// What an exception means that is none of ours.
#pragma once

#include <exception>

#include "core/base/error.h"

namespace growmerge {

/// kIo where the operating system refused (permission denied, a loop of links, a name that is too
/// long), else our bug. An Error's own code is kept.
[[nodiscard]] ErrorCode code_of(const std::exception& e);

}  // namespace growmerge
