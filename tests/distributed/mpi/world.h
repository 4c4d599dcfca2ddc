// The world of the MPI tests, made by their main.
#pragma once

#include "core/contracts/communicator.h"

namespace growmerge::testing {

[[nodiscard]] Communicator& world();

}  // namespace growmerge::testing
