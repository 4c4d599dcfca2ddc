// Enough of CUDA's C++ for the .cu files of core/ to be compiled by a host compiler and run: every
// thread of a block is a fiber, blocks run one after another, and whoever waits (at __syncthreads
// or in a warp's exchange) lets the others run.
//
// What it can show: wrong arithmetic and indices, missing barriers (threads of a block run far
// ahead of each other, in ascending or descending order), barriers that not all threads of a block
// or warp reach. What it cannot show: speed, memory consistency between blocks, compilers' faults.
#pragma once

#include <math.h>  // its overloads lie in the global namespace, as CUDA's do

#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  explicit dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/// Of the thread that runs.
extern thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();

inline float __uint_as_float(unsigned bits) {
  float out = 0.0F;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

namespace growmerge::ops::cuda::emulation {

/// In which order threads of a block (and blocks) get their turn.
enum class Order { kAscending, kDescending };
void set_order(Order order);

/// Runs `thread` for each thread of each block. Throws Error(kInternal) when threads wait for each
/// other for ever: some left a barrier out, or a warp did not come together whole.
void run(dim3 grid, unsigned threads, const std::function<void()>& thread);

int lane();
void sync_warp();
/// How often this warp has come together, and a lane's 8 bytes of such an occasion.
std::uint64_t num_exchange();
void* slot(int lane, std::uint64_t exchange);

/// What `lane` of this warp gave.
template <class V>
V exchange(V value, int from) {
  static_assert(sizeof(V) <= 8 && std::is_trivially_copyable_v<V>);
  const std::uint64_t now = num_exchange();
  std::memcpy(slot(lane(), now), &value, sizeof(V));
  sync_warp();
  V out;
  std::memcpy(&out, slot(from, now), sizeof(V));
  return out;
}

/// To the nearest bfloat16, ties to even; NaN stays NaN.
inline std::uint16_t round_bf16(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffU) > 0x7f800000U) {
    return 0x7fffU;  // as cvt.rn.bf16.f32 does
  }
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

}  // namespace growmerge::ops::cuda::emulation
