// Marks a loop to be compiled for the vector units that machines have, the best one chosen when the
// program starts. Multiply-adds are fused only where the source says so (__builtin_fmaf), so every
// machine gives the same bits.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define GM_SIMD                                     \
  __attribute__((optimize("O3", "fp-contract=off"), \
                 target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GM_SIMD __attribute__((optimize("O3", "fp-contract=off")))
#endif
