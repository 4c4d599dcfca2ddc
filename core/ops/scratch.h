// Memory that operators work in while they run, aligned as their kernels read it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "core/base/error.h"

namespace growmerge::ops {

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using ScratchMemory = std::unique_ptr<void, FreeMemory>;

/// `bytes` > 0 of it, not initialised, at a multiple of 64: a cache line, and a whole vector of
/// AVX-512, which so never crosses two. Errors: kIo naming `what` needs it.
[[nodiscard]] inline ScratchMemory make_scratch(std::size_t bytes, const char* what) {
  ScratchMemory memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  GM_CHECK(memory != nullptr, kIo, what, ": out of memory for ", bytes, " bytes of scratch");
  return memory;
}

}  // namespace growmerge::ops
