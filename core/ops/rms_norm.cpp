#include "core/ops/rms_norm.h"

#include <vector>

#include "core/ops/dispatch.h"

// Shapes (legend: kernels/kernels.h): x, delta, sum, y, dy, dx [N, D]; gain, dgain [D]; rstd [N].
// Rows are independent, so they are cut among threads; only dgain sums over them.
namespace growmerge::ops {

void add_rms_norm(const at::Tensor& x_ND, const at::Tensor& delta_ND, const Gain& gain, double eps,
                  const at::Tensor& sum_ND, const at::Tensor& y_ND, const at::Tensor& rstd_N) {
  if (x_ND.is_cuda()) {
    return cuda_ops().add_rms_norm(x_ND, delta_ND, gain, eps, sum_ND, y_ND, rstd_N);
  }
  const profile::Scope scope("add_rms_norm", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({x_ND, delta_ND, sum_ND, y_ND})};
  });
  const std::int64_t rows = x_ND.size(0);
  const std::int64_t d = x_ND.size(1);
  dispatch(x_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = const_data<T>(x_ND);
    const T* delta = delta_ND.defined() ? const_data<T>(delta_ND) : nullptr;
    const T* values = const_data<T>(gain.values_D);
    T* sum = delta != nullptr ? data<T>(sum_ND) : nullptr;
    T* y = data<T>(y_ND);
    auto* rstd = data<Acc<T>>(rstd_N);
    at::parallel_for(0, rows, grain(d), [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t at = begin * d;
      kernels<T>().add_rms_norm(end - begin, d, x + at, delta != nullptr ? delta + at : nullptr,
                                values, gain.offset, eps, sum != nullptr ? sum + at : nullptr,
                                y + at, rstd + begin);
    });
  });
}

void apply_rms_norm(const at::Tensor& x_ND, const Gain& gain, const at::Tensor& rstd_N,
                    const at::Tensor& y_ND) {
  if (x_ND.is_cuda()) {
    return cuda_ops().apply_rms_norm(x_ND, gain, rstd_N, y_ND);
  }
  const profile::Scope scope("apply_rms_norm", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({x_ND, y_ND})};
  });
  const std::int64_t d = x_ND.size(1);
  dispatch(x_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = const_data<T>(x_ND);
    const T* values = const_data<T>(gain.values_D);
    const auto* rstd = const_data<Acc<T>>(rstd_N);
    T* y = data<T>(y_ND);
    at::parallel_for(0, x_ND.size(0), grain(d), [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().apply_rms_norm(end - begin, d, x + begin * d, values, gain.offset, rstd + begin,
                                  y + begin * d);
    });
  });
}

void rms_norm_backward(const at::Tensor& dy_ND, const at::Tensor& x_ND, const Gain& gain,
                       const at::Tensor& rstd_N, const at::Tensor& dx_ND,
                       const at::Tensor& dgain_D) {
  if (x_ND.is_cuda()) {
    return cuda_ops().rms_norm_backward(dy_ND, x_ND, gain, rstd_N, dx_ND, dgain_D);
  }
  const profile::Scope scope("rms_norm_backward", [&] {
    return profile::Work{.flops = 0.0, .bytes = bytes_of({dy_ND, x_ND, dx_ND, dx_ND})};
  });
  const std::int64_t rows = x_ND.size(0);
  const std::int64_t d = x_ND.size(1);
  dispatch(x_ND.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Acc<T>;
    const T* dy = const_data<T>(dy_ND);
    const T* x = const_data<T>(x_ND);
    const T* values = const_data<T>(gain.values_D);
    const A* rstd = const_data<A>(rstd_N);
    T* dx = data<T>(dx_ND);
    // One partial sum of dgain per part, added in order: the same bits whoever finishes first.
    const std::int64_t parts = std::clamp<std::int64_t>(rows / grain(d), 1, at::get_num_threads());
    std::vector<A> partial(static_cast<std::size_t>(parts * d), A(0));
    at::parallel_for(0, parts, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t part = first; part < last; ++part) {
        const std::int64_t begin = rows * part / parts;
        const std::int64_t end = rows * (part + 1) / parts;
        kernels<T>().rms_norm_backward(end - begin, d, dy + begin * d, x + begin * d, values,
                                       gain.offset, rstd + begin, dx + begin * d,
                                       partial.data() + part * d);
      }
    });
    A* dgain = data<A>(dgain_D);  // partial [parts, D]
    for (std::int64_t i = 0; i < parts * d; ++i) {
      dgain[i % d] += partial[static_cast<std::size_t>(i)];
    }
  });
}

}  // namespace growmerge::ops
