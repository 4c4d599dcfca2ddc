#include "core/ops/kernels/kernels.h"

namespace growmerge::ops {
namespace {

#define GM_FILL(name)        \
  set.isa = #name;           \
  name::fill_rms_norm(set);  \
  name::fill_rope(set);      \
  name::fill_gated_mlp(set); \
  name::fill_attention(set); \
  name::fill_cross_entropy(set);

KernelSet choose() {
  KernelSet set;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
      __builtin_cpu_supports("avx512cd") != 0) {
    GM_FILL(avx512)
    return set;
  }
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
      __builtin_cpu_supports("bmi2") != 0) {
    GM_FILL(avx2)
    return set;
  }
#endif
  GM_FILL(baseline)
  return set;
}

#undef GM_FILL

}  // namespace

const KernelSet& kernel_set() {
  static const KernelSet set = choose();
  return set;
}

}  // namespace growmerge::ops
