// Which kernels this processor can run. Apart from kernels.h, because kernels include no standard
// containers.
#pragma once

#include <c10/core/ScalarType.h>

#include <vector>

#include "core/ops/kernels/kernels.h"

namespace growmerge::ops {

/// Every set that was compiled in and that this processor runs, the best last.
[[nodiscard]] const std::vector<KernelSet>& available_kernel_sets();

/// Whether our own products are faster here than LibTorch's: its oneMKL takes a generic path on
/// processors that are not Intel's, and its oneDNN needs AMX to be ahead in bfloat16. Never changes
/// within a process.
[[nodiscard]] bool prefers_own_products(at::ScalarType dtype);

}  // namespace growmerge::ops
