// The emulation itself: it must see what goes wrong on a device.
#include "core/ops/cuda/device.h"

#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/transformer/backend.h"
#include "tests/support/expect_error.h"

namespace growmerge::ops::cuda {
namespace {

/// Each thread writes, and reads what its neighbour wrote.
__global__ void neighbours(bool waits, const int* in, int* out) {
  __shared__ int shared[64];
  shared[threadIdx.x] = in[threadIdx.x];
  if (waits) {
    __syncthreads();
  }
  out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
  __syncthreads();
  shared[threadIdx.x] = -1;
}

std::vector<int> run_neighbours(bool waits) {
  std::vector<int> in(64);
  std::vector<int> out(64);
  for (int i = 0; i < 64; ++i) {
    in[static_cast<std::size_t>(i)] = i;
  }
  launch(neighbours, dim3(2), 64, nullptr, waits, static_cast<const int*>(in.data()), out.data());
  return out;
}

TEST(Emulation, ShowsAMissingBarrier) {
  for (const emulation::Order order :
       {emulation::Order::kAscending, emulation::Order::kDescending}) {
    emulation::set_order(order);
    const std::vector<int> right = run_neighbours(true);
    for (int i = 0; i < 64; ++i) {
      EXPECT_EQ(right[static_cast<std::size_t>(i)], (i + 1) % 64);
    }
    EXPECT_NE(run_neighbours(false), right);
  }
  emulation::set_order(emulation::Order::kAscending);
}

__global__ void half_waits() {
  if (threadIdx.x < 32) {
    __syncthreads();
  }
}

__global__ void half_a_warp_exchanges(int* out) {
  if (threadIdx.x % 2 == 0) {
    out[threadIdx.x] = shuffle(static_cast<int>(threadIdx.x), 0);
  }
}

TEST(Emulation, ShowsThreadsThatDoNotComeTogether) {
  EXPECT_ERROR(launch(half_waits, dim3(1), 64, nullptr), kInternal, "32 of 64 threads");
  std::vector<int> out(32);
  EXPECT_ERROR(launch(half_a_warp_exchanges, dim3(1), 32, nullptr, out.data()), kInternal,
               "16 of 32 threads");
  EXPECT_ERROR(launch(half_waits, dim3(1), 33, nullptr), kInternal, "whole warps");
  EXPECT_ERROR(launch(half_waits, dim3(1, 70000), 32, nullptr), kInternal, "65535");
}

__global__ void reductions(const double* in, double* sums, double* most) {
  const double x = in[blockIdx.x * blockDim.x + threadIdx.x];
  const double sum = reduce_block(x, Sum{});
  const double high = reduce_block(x, Max{});
  sums[blockIdx.x * blockDim.x + threadIdx.x] = sum;
  most[blockIdx.x * blockDim.x + threadIdx.x] = high;
}

TEST(Emulation, ReductionsReachEveryThread) {
  constexpr unsigned kThreads = 96;
  std::vector<double> in(2 * kThreads);
  for (std::size_t i = 0; i < in.size(); ++i) {
    in[i] = static_cast<double>(i * 37 % 101);
  }
  std::vector<double> sums(in.size());
  std::vector<double> most(in.size());
  launch(reductions, dim3(2), kThreads, nullptr, static_cast<const double*>(in.data()), sums.data(),
         most.data());
  for (std::size_t i = 0; i < in.size(); ++i) {
    const auto begin = in.begin() + static_cast<std::ptrdiff_t>(i / kThreads * kThreads);
    double sum = 0.0;
    for (auto x = begin; x != begin + kThreads; ++x) {
      sum += *x;
    }
    EXPECT_EQ(sums[i], sum);
    EXPECT_EQ(most[i], *std::max_element(begin, begin + kThreads));
  }
}

TEST(Emulation, RoundsAsLibTorchDoes) {
  for (const float x : {1.0F, 1.00390625F, 1.01171875F, 1.0039063F, -3.14159F, 3.4e38F, 1e-41F}) {
    const float rounded = load(Bf16{round_bf16(x)});
    EXPECT_EQ(rounded, static_cast<float>(c10::BFloat16(x))) << x;
  }
}

TEST(CudaOps, AreRefusedWhereNoBackEndIsOpen) {
  EXPECT_ERROR(cuda_ops(), kUnsupported, "no CUDA back end is open", "libgrowmerge_cuda.so");
}

}  // namespace
}  // namespace growmerge::ops::cuda
