// Which kernels this processor can run. Apart from kernels.h, because kernels include no standard
// containers.
#pragma once

#include <vector>

#include "core/ops/kernels/kernels.h"

namespace growmerge::ops {

/// Every set that was compiled in and that this processor runs, the best last.
[[nodiscard]] const std::vector<KernelSet>& available_kernel_sets();

}  // namespace growmerge::ops
