#include "core/ops/gated_mlp.h"

#include "core/ops/dispatch.h"

namespace growmerge::ops {
namespace {
constexpr std::int64_t kGrain = 16384;
}

void gated_forward(Activation activation, const at::Tensor& gate, const at::Tensor& up,
                   const at::Tensor& out) {
  if (gate.is_cuda()) {
    return cuda_ops().gated_forward(activation, gate, up, out);
  }
  const profile::Scope scope("gated_forward", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({gate, up, out})};
  });
  dispatch(gate.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* g = const_data<T>(gate);
    const T* u = const_data<T>(up);
    T* o = data<T>(out);
    const auto kernel = kernels<T>().gated_forward[static_cast<int>(activation)];
    at::parallel_for(0, gate.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernel(end - begin, g + begin, u + begin, o + begin);
    });
  });
}

void gated_backward_(Activation activation, const at::Tensor& gate, const at::Tensor& up,
                     const at::Tensor& dout) {
  if (gate.is_cuda()) {
    return cuda_ops().gated_backward_(activation, gate, up, dout);
  }
  const profile::Scope scope("gated_backward", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({gate, up, dout, gate, up, dout})};
  });
  dispatch(gate.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    T* g = data<T>(gate);
    T* u = data<T>(up);
    T* d = data<T>(dout);
    const auto kernel = kernels<T>().gated_backward[static_cast<int>(activation)];
    at::parallel_for(0, gate.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernel(end - begin, g + begin, u + begin, d + begin);
    });
  });
}

}  // namespace growmerge::ops
