// What the .cu files share: element types, 16-byte accesses, sums over a warp or block, launching.
//
// They include no torch header, and nothing of CUDA that tests/core/ops/cuda/emulation.h lacks:
// under GM_CUDA_EMULATION a host compiler builds the same text, and the kernels run block by block.
#pragma once

#ifdef GM_CUDA_EMULATION
#include GM_CUDA_EMULATION
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#endif

#include <cstdint>

#include "core/base/error.h"
#include "core/ops/cuda/kernels.h"

namespace growmerge::ops::cuda {

constexpr unsigned kWarp = 32;
/// A kernel that is launched on more than 256 threads says so (__launch_bounds__), or it may need
/// more registers than such a block has.
constexpr unsigned kMostThreads = 1024;
constexpr unsigned kFewThreads = 256;  // a block of any kernel may have

#ifdef GM_CUDA_EMULATION

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, unsigned threads, Stream /*stream*/,
            const Args&... args) {
  emulation::run(grid, threads, [&] { kernel(static_cast<Params>(args)...); });
}

template <class V>
__device__ V shuffle_xor(V value, int mask) {
  return emulation::exchange(value, emulation::lane() ^ mask);
}
template <class V>
__device__ V shuffle(V value, int lane) {
  return emulation::exchange(value, lane);
}
__device__ inline void sync_warp() { emulation::sync_warp(); }
__device__ inline std::uint16_t round_bf16(float x) { return emulation::round_bf16(x); }

#else

/// Enqueues kernel(args...) on `grid` blocks of `threads`; an empty grid is no work. Errors:
/// kInternal with CUDA's text when the launch fails.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, unsigned threads, Stream stream,
            const Args&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) {
    return;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.stream = static_cast<cudaStream_t>(stream);
  const cudaError_t failed = cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
  GM_CHECK(failed == cudaSuccess, kInternal, "launching a CUDA kernel on ", grid.x, " x ", grid.y,
           " blocks of ", threads, " threads: ", cudaGetErrorString(failed));
}

template <class V>
__device__ V shuffle_xor(V value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}
template <class V>
__device__ V shuffle(V value, int lane) {
  return __shfl_sync(0xffffffffU, value, lane);
}
__device__ inline void sync_warp() { __syncwarp(); }
__device__ inline std::uint16_t round_bf16(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

#endif

__device__ inline float load(float x) { return x; }
__device__ inline double load(double x) { return x; }
__device__ inline float load(Bf16 x) {
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
__device__ inline void store(float& to, float x) { to = x; }
__device__ inline void store(double& to, double x) { to = x; }
__device__ inline void store(Bf16& to, float x) { to.bits = round_bf16(x); }

__device__ inline float exp_of(float x) { return expf(x); }
__device__ inline double exp_of(double x) { return exp(x); }

/// V elements that lie together: one access of at most 16 bytes, the widest that a thread has. A
/// row that is read so needs a fourth (float32) or an eighth (bfloat16) of the instructions.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T at[V];
};
template <class T>
constexpr int kPackOf = 16 / sizeof(T);

template <int V, class T>
__device__ Pack<T, V> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, V>*>(from);
}
template <int V, class T>
__device__ void store_pack(T* to, const Pack<T, V>& pack) {
  *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

/// Whether rows of `row` elements from each of these (null is ignored) can be read in 16 bytes.
template <class T, class... Pointers>
bool is_packable(Index row, const Pointers*... pointers) {
  const bool aligned = ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
  return aligned && row % kPackOf<T> == 0;
}

/// Threads that give each about one of `items`, between a warp and `most`: whole warps, as the sums
/// over a block expect.
inline unsigned threads_for(Index items, unsigned most = kFewThreads) {
  const Index whole = (items + kWarp - 1) / kWarp * kWarp;
  return whole < kWarp ? kWarp : whole > most ? most : static_cast<unsigned>(whole);
}

/// Blocks of a loop over `items` with a stride of the whole grid.
inline dim3 grid_for(Index items, unsigned threads) {
  const Index blocks = (items + threads - 1) / threads;
  return dim3(static_cast<unsigned>(blocks < 1024 ? blocks : 1024));
}

inline dim3 grid_of_rows(Index rows) { return dim3(static_cast<unsigned>(rows)); }

/// Launches one block a row, of two forms of a kernel: `packs` reads 16 bytes at a time and is
/// taken where is_packable() says so, `single` one element. A row has `elements` of them to share
/// out.
template <class T, class Arguments>
void launch_on_rows(void (*packs)(Arguments), void (*single)(Arguments), bool packable, Index rows,
                    Index elements, unsigned most, Stream stream, const Arguments& a) {
  const Index items = packable ? elements / kPackOf<T> : elements;
  launch(packable ? packs : single, grid_of_rows(rows), threads_for(items, most), stream, a);
}

struct Sum {
  template <class V>
  __device__ V operator()(V a, V b) const {
    return a + b;
  }
};
struct Max {
  template <class V>
  __device__ V operator()(V a, V b) const {
    return a > b ? a : b;
  }
};

/// All lanes get the result, in an order that is fixed: a butterfly, in which lanes add the same
/// two numbers and so have the same bits.
template <class V, class Op>
__device__ V reduce_warp(V value, Op op) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    value = op(value, shuffle_xor(value, mask));
  }
  return value;
}

/// All threads of the block (whole warps) get the result, in an order that is fixed.
template <class V, class Op>
__device__ V reduce_block(V value, Op op) {
  __shared__ V of_warp[kWarp];
  value = reduce_warp(value, op);
  const unsigned warps = blockDim.x / kWarp;
  __syncthreads();  // the last use of of_warp is over: kernels reduce more than once
  if (threadIdx.x % kWarp == 0) {
    of_warp[threadIdx.x / kWarp] = value;
  }
  __syncthreads();
  value = of_warp[0];  // every thread adds all warps' results, in their order
  for (unsigned w = 1; w < warps; ++w) {
    value = op(value, of_warp[w]);
  }
  return value;
}

}  // namespace growmerge::ops::cuda
