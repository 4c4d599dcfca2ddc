#include "core/ops/embedding.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/ops/dispatch.h"

// Shapes (legend: kernels/kernels.h): tokens [N]; x, dx [N, D]; table, dtable [V, D].
namespace growmerge::ops {

void embedding_forward(const at::Tensor& tokens_N, const at::Tensor& table_VD,
                       const at::Tensor& x_ND) {
  if (table_VD.is_cuda()) {
    return cuda_ops().embedding_forward(tokens_N, table_VD, x_ND);
  }
  const profile::Scope scope("embedding_forward", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({x_ND, x_ND})};
  });
  const std::int64_t d = table_VD.size(1);
  // Rows are copied as bytes: no arithmetic, so one path serves every dtype.
  const std::size_t row_bytes = static_cast<std::size_t>(d) * table_VD.element_size();
  const auto* tokens = const_data<std::int64_t>(tokens_N);
  const auto* table = static_cast<const char*>(table_VD.const_data_ptr());
  auto* x = static_cast<char*>(x_ND.mutable_data_ptr());
  at::parallel_for(0, tokens_N.numel(), grain(d), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::memcpy(x + static_cast<std::size_t>(i) * row_bytes,
                  table + static_cast<std::size_t>(tokens[i]) * row_bytes, row_bytes);
    }
  });
}

void embedding_backward(const at::Tensor& tokens_N, const at::Tensor& dx_ND,
                        const at::Tensor& dtable_VD) {
  if (dx_ND.is_cuda()) {
    return cuda_ops().embedding_backward(tokens_N, dx_ND, dtable_VD);
  }
  const profile::Scope scope("embedding_backward", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({dx_ND})};
  });
  const std::int64_t n = tokens_N.numel();
  const std::int64_t d = dx_ND.size(1);
  const auto* tokens = const_data<std::int64_t>(tokens_N);
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  // By token, so that each row of the table belongs to one thread and needs no atomic additions; by
  // position within a token, so that its sum has one order whatever the threads.
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return tokens[a] != tokens[b] ? tokens[a] < tokens[b] : a < b;
  });
  std::vector<std::int64_t> runs;  // where each token's run of positions begins
  for (std::int64_t i = 0; i < n; ++i) {
    if (i == 0 || tokens[order[static_cast<std::size_t>(i)]] !=
                      tokens[order[static_cast<std::size_t>(i - 1)]]) {
      runs.push_back(i);
    }
  }
  const auto num_runs = static_cast<std::int64_t>(runs.size());
  runs.push_back(n);
  dispatch(dx_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* dx = const_data<T>(dx_ND);
    auto* dtable = data<Acc<T>>(dtable_VD);
    at::parallel_for(0, num_runs, grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t run = begin; run < end; ++run) {
        const auto r = static_cast<std::size_t>(run);
        const std::int64_t token = tokens[order[static_cast<std::size_t>(runs[r])]];
        if (token < 0) {
          continue;  // ignored targets
        }
        auto* row = dtable + token * d;
        for (std::int64_t i = runs[r]; i < runs[r + 1]; ++i) {
          kernels<T>().accumulate(d, dx + order[static_cast<std::size_t>(i)] * d, row);
        }
      }
    });
  });
}

}  // namespace growmerge::ops
