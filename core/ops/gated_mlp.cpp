#include "core/ops/gated_mlp.h"

#include "core/ops/dispatch.h"

// Shapes (legend: kernels/kernels.h): gate, up, out and their gradients [N, F]. Every element is by
// itself, so the operators walk over N F elements and cut them anywhere.
namespace growmerge::ops {
namespace {
// Elements that make a thread worth waking: fewer than grain()'s, as each costs an exponential.
constexpr std::int64_t kGrain = 16384;
}  // namespace

void gated_forward(Activation activation, const at::Tensor& gate_NF, const at::Tensor& up_NF,
                   const at::Tensor& out_NF) {
  if (gate_NF.is_cuda()) {
    return cuda_ops().gated_forward(activation, gate_NF, up_NF, out_NF);
  }
  const profile::Scope scope("gated_forward", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({gate_NF, up_NF, out_NF})};
  });
  dispatch(gate_NF.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* gate = const_data<T>(gate_NF);
    const T* up = const_data<T>(up_NF);
    T* out = data<T>(out_NF);
    const auto kernel = kernels<T>().gated_forward[static_cast<int>(activation)];
    at::parallel_for(0, gate_NF.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernel(end - begin, gate + begin, up + begin, out + begin);
    });
  });
}

void gated_backward_(Activation activation, const at::Tensor& gate_to_dgate_NF,
                     const at::Tensor& up_to_dup_NF, const at::Tensor& dout_to_out_NF) {
  if (gate_to_dgate_NF.is_cuda()) {
    return cuda_ops().gated_backward_(activation, gate_to_dgate_NF, up_to_dup_NF, dout_to_out_NF);
  }
  const profile::Scope scope("gated_backward", [&] {
    return profile::Work{.flops = 0.0,
                         .bytes = 2.0 * bytes_of({gate_to_dgate_NF, up_to_dup_NF, dout_to_out_NF})};
  });
  dispatch(gate_to_dgate_NF.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    T* gate_to_dgate = data<T>(gate_to_dgate_NF);
    T* up_to_dup = data<T>(up_to_dup_NF);
    T* dout_to_out = data<T>(dout_to_out_NF);
    const auto kernel = kernels<T>().gated_backward[static_cast<int>(activation)];
    const std::int64_t n = gate_to_dgate_NF.numel();
    at::parallel_for(0, n, kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernel(end - begin, gate_to_dgate + begin, up_to_dup + begin, dout_to_out + begin);
    });
  });
}

}  // namespace growmerge::ops
