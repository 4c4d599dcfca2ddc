#include "core/ops/kernel_set.h"

#include <string_view>
#include <vector>

namespace growmerge::ops {
namespace {

// The same functions exist once for each instruction set, in a namespace of its name.
#define GM_FILL(name)        \
  set.isa = #name;           \
  name::fill_gemm(set);      \
  name::fill_rms_norm(set);  \
  name::fill_rope(set);      \
  name::fill_gated_mlp(set); \
  name::fill_attention(set); \
  name::fill_cross_entropy(set);

#if defined(__x86_64__)
/// x86-64-v4, by the five members that it adds.
bool has_avx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
         __builtin_cpu_supports("avx512cd") != 0;
}

/// x86-64-v3, by three of its members.
bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
         __builtin_cpu_supports("bmi2") != 0;
}
#endif

std::vector<KernelSet> make_sets() {
  std::vector<KernelSet> sets;
  const auto add = [&](auto fill) {
    KernelSet set;
    fill(set);
    sets.push_back(set);
  };
  add([](KernelSet& set) { GM_FILL(baseline) });
#if defined(__x86_64__)
  if (has_avx2()) {
    add([](KernelSet& set) { GM_FILL(avx2) });
  }
  if (has_avx512()) {
    add([](KernelSet& set) { GM_FILL(avx512) });
  }
  if (has_avx512() && __builtin_cpu_supports("avx512bf16") != 0) {
    add([](KernelSet& set) { GM_FILL(avx512bf16) });
  }
#endif
  return sets;
}

#undef GM_FILL

/// oneMKL has its fast paths on Intel's processors alone.
bool is_intel() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

}  // namespace

const std::vector<KernelSet>& available_kernel_sets() {
  static const std::vector<KernelSet> sets = make_sets();
  return sets;
}

const KernelSet& kernel_set() {
  static const KernelSet set = available_kernel_sets().back();  // asked once: it never changes
  return set;
}

bool prefers_own_products(at::ScalarType dtype) {
  // Only those by AVX-512 are ahead; a set that has none for a dtype holds a null there.
  static const bool may = std::string_view(kernel_set().isa).starts_with("avx512") && !is_intel();
  return may && ((dtype == at::ScalarType::Float && kernel_set().f32.gemm != nullptr) ||
                 (dtype == at::ScalarType::BFloat16 && kernel_set().bf16.gemm != nullptr));
}

}  // namespace growmerge::ops
