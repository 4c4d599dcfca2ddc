// The table of the code around the kernels as it was compiled for the emulation. Products are
// cuBLASLt's alone and are left out.
#include <ATen/cuda/cub.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/ops/cuda/table.h"
#include "tests/core/ops/cuda/device_under_test.h"
#include "tests/core/ops/cuda/emulation.h"

namespace at::cuda::cub::detail {

/// In place of LibTorch's, which needs a device; stable, as that is.
template <>
void radix_sort_pairs_impl<std::int32_t, 4>(const std::int32_t* keys_in, std::int32_t* keys_out,
                                            const OpaqueType<4>* values_in,
                                            OpaqueType<4>* values_out, std::int64_t n,
                                            bool descending, std::int64_t begin_bit,
                                            std::int64_t end_bit) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  // Sorts by the bits that were asked for and no others.
  const auto bits = [&](std::int64_t i) {
    const auto mask = (std::uint64_t{1} << (end_bit - begin_bit)) - 1;
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(keys_in[i])) >> begin_bit & mask;
  };
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return descending ? bits(a) > bits(b) : bits(a) < bits(b);
  });
  for (std::int64_t i = 0; i < n; ++i) {
    keys_out[i] = keys_in[order[static_cast<std::size_t>(i)]];
    values_out[i] = values_in[order[static_cast<std::size_t>(i)]];
  }
}

}  // namespace at::cuda::cub::detail

namespace growmerge::ops::cuda {

const DeviceUnderTest& device_under_test() {
  static const CudaOps ops = [] {
    CudaOps table;
    fill_row_ops(table);
    fill_attention_ops(table);
    fill_adamw_ops(table);
    return table;
  }();
  static const DeviceUnderTest emulated{
      .ops = &ops, .missing = "", .device = at::kCPU, .reverse_order = [](bool reversed) {
        emulation::set_order(reversed ? emulation::Order::kDescending
                                      : emulation::Order::kAscending);
      }};
  return emulated;
}

}  // namespace growmerge::ops::cuda
