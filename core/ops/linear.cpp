#include "core/ops/linear.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>

#include <algorithm>

#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/kernel_set.h"
#include "core/ops/scratch.h"

// Shapes (legend: kernels/kernels.h): x, dx, spare [N, I]; weight, dweight [O, I]; y, dy [N, O];
// row_scale [N]. Inside, a product is C [m, n] (+)= A [m, k] B [k, n], whatever its matrices are.
namespace growmerge::ops {
namespace {

/// Products with fewer rows than this are LibTorch's: packing a matrix for them costs too much.
constexpr std::int64_t kFewestRows = 16;
/// Multiply-adds that make a thread worth waking.
constexpr double kGrain = 1e6;

/// A thread's memory for packed blocks, kept from one product to the next: a step makes hundreds of
/// them.
void* packing_memory(std::int64_t bytes) {
  static thread_local ScratchMemory memory;
  static thread_local std::int64_t held = 0;
  if (held < bytes) {
    memory.reset();  // before the new one is made, so that both are never held
    memory = make_scratch(static_cast<std::size_t>(bytes), "product");
    held = bytes;
  }
  return memory.get();
}

/// Cut among threads by rows or by columns, whichever packs less twice: every thread packs for
/// itself what it multiplies, all of B when rows are cut, all of A (unless that is read as it lies)
/// when columns are. A part of columns is no narrower than 256.
template <class T>
void run(const GemmTask<T>& whole) {
  const double work =
      static_cast<double>(whole.m) * static_cast<double>(whole.n) * static_cast<double>(whole.k);
  const auto parts = static_cast<std::int64_t>(
      std::min(static_cast<double>(at::get_num_threads()), std::max(1.0, work / kGrain)));
  const std::int64_t packed_a = whole.a_col == 1 ? 0 : whole.m;
  const bool by_columns = packed_a < whole.n && whole.n >= 256 * parts;
  const std::int64_t unit = by_columns ? 32 : 8;  // what the kernel multiplies together
  const std::int64_t units = ((by_columns ? whole.n : whole.m) + unit - 1) / unit;
  at::parallel_for(0, parts, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part) {
      const std::int64_t begin = units * part / parts * unit;
      const std::int64_t end =
          std::min(by_columns ? whole.n : whole.m, units * (part + 1) / parts * unit);
      if (begin >= end) {
        continue;
      }
      GemmTask<T> task = whole;
      if (by_columns) {
        task.n = end - begin;
        task.b += begin * task.b_col;
        task.c = task.c == nullptr ? nullptr : task.c + begin;
        task.sum = task.sum == nullptr ? nullptr : task.sum + begin;
      } else {
        task.m = end - begin;
        task.a += begin * task.a_row;
        task.c = task.c == nullptr ? nullptr : task.c + begin * task.c_row;
        task.sum = task.sum == nullptr ? nullptr : task.sum + begin * task.c_row;
        task.row_scale = task.row_scale == nullptr ? nullptr : task.row_scale + begin;
      }
      task.scratch =
          packing_memory(gemm_scratch_bytes(task.k, sizeof(T) < 4 && task.sum == nullptr));
      kernels<T>().gemm(task);
    }
  });
}

/// Whether A's products are made by our own kernels: where those are the faster ones, and there is
/// something to sum.
bool is_own(const at::Tensor& a) {
  return a.is_cpu() && a.size(0) >= kFewestRows && a.size(1) > 0 &&
         prefers_own_products(a.scalar_type());
}

/// What rows of A or of B are multiplied by, where they are.
struct Scales {
  at::Tensor a_rows, b_rows;
};

/// C [m, n] (+)= A [m, k] B [k, n] by our own kernels; A and B may be transposed views. C in the
/// type of A and B is rounded once.
void own_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, bool accumulate,
                 const Scales& scales = {}) {
  const auto fill = [&](auto type) {
    using T = typename decltype(type)::type;
    GemmTask<T> task;
    task.m = a.size(0);
    task.k = a.size(1);
    task.n = b.size(1);
    task.a = const_data<T>(a);
    task.a_row = a.stride(0);
    task.a_col = a.stride(1);
    task.b = const_data<T>(b);
    task.b_row = b.stride(0);
    task.b_col = b.stride(1);
    if (c.scalar_type() == a.scalar_type()) {
      task.c = data<T>(c);
    } else {
      task.sum = data<Acc<T>>(c);
    }
    task.c_row = c.stride(0);
    task.accumulate = accumulate;
    const auto scale_of = [](const at::Tensor& rows) {
      return rows.defined() ? const_data<Acc<T>>(rows) : nullptr;
    };
    task.row_scale = scale_of(scales.a_rows);
    task.b_row_scale = scale_of(scales.b_rows);
    run(task);
  };
  if (a.scalar_type() == at::ScalarType::Float) {
    fill(Type<float>{});
  } else {
    fill(Type<Bf16>{});
  }
}

/// Of a product of A [m, k] and a matrix with as many columns as `like` [.., n].
profile::Work work_of(const at::Tensor& a, const at::Tensor& like,
                      std::initializer_list<at::Tensor> moved) {
  return {.flops = 2.0 * static_cast<double>(a.numel()) * static_cast<double>(like.size(1)),
          .bytes = bytes_of(moved)};
}

/// C = beta C + A B, C [m, n], A [m, k], B [k, n]; beta is 0 or 1.
void product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, double beta) {
  if (is_own(a)) {
    own_product(a, b, c, beta != 0.0);
    return;
  }
  // Autograd records nothing here, so its layer is passed over.
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  at::Tensor out = c;
  if (beta == 0.0) {
    at::mm_out(out, a, b);
  } else {
    at::addmm_out(out, c, a, b, beta, 1.0);
  }
}

}  // namespace

void linear_forward(const at::Tensor& x_NI, const at::Tensor& weight_OI, const at::Tensor& y_NO,
                    double beta) {
  if (x_NI.is_cuda()) {
    return cuda_ops().linear_forward(x_NI, weight_OI, y_NO, beta);
  }
  const profile::Scope scope("linear_forward", [&] {
    return work_of(x_NI, y_NO, {x_NI, weight_OI, y_NO});
  });
  product(x_NI, weight_OI.t(), y_NO, beta);
}

void linear_forward_with_bias(const at::Tensor& x_NI, const at::Tensor& weight_OI,
                              const at::Tensor& bias_O, const at::Tensor& y_NO) {
  if (!bias_O.defined()) {
    linear_forward(x_NI, weight_OI, y_NO);
    return;
  }
  y_NO.copy_(bias_O.expand_as(y_NO));
  linear_forward(x_NI, weight_OI, y_NO, 1.0);
}

void linear_backward_bias(const at::Tensor& dy_NO, const at::Tensor& dbias_O) {
  if (dbias_O.defined()) {
    dbias_O.add_(at::sum(dy_NO, 0, /*keepdim=*/false, dbias_O.scalar_type()));
  }
}

void linear_backward_input(const at::Tensor& dy_NO, const at::Tensor& weight_OI,
                           const at::Tensor& dx_NI, double beta) {
  if (dy_NO.is_cuda()) {
    return cuda_ops().linear_backward_input(dy_NO, weight_OI, dx_NI, beta);
  }
  const profile::Scope scope("linear_backward_input", [&] {
    return work_of(dy_NO, dx_NI, {dy_NO, weight_OI, dx_NI});
  });
  product(dy_NO, weight_OI, dx_NI, beta);
}

void linear_backward_input_scaled(const at::Tensor& dy_NO, const at::Tensor& weight_OI,
                                  const at::Tensor& row_scale_N, const at::Tensor& dx_NI,
                                  const at::Tensor& spare_NI) {
  if (!is_own(dy_NO)) {  // on CUDA, too: both calls go to their twins
    linear_backward_input(dy_NO, weight_OI, spare_NI);
    add_scaled_rows(spare_NI, row_scale_N, dx_NI);
    return;
  }
  const profile::Scope scope("linear_backward_input", [&] {
    return work_of(dy_NO, dx_NI, {dy_NO, weight_OI, dx_NI, dx_NI});
  });
  own_product(dy_NO, weight_OI, dx_NI, true, {.a_rows = row_scale_N, .b_rows = {}});
}

void linear_backward_weight(const at::Tensor& dy_NO, const at::Tensor& x_NI,
                            const at::Tensor& dweight_OI) {
  if (dy_NO.is_cuda()) {
    return cuda_ops().linear_backward_weight(dy_NO, x_NI, dweight_OI);
  }
  const profile::Scope scope("linear_backward_weight", [&] {
    return work_of(dy_NO, x_NI, {dy_NO, x_NI, dweight_OI, dweight_OI});
  });
  if (dy_NO.scalar_type() == dweight_OI.scalar_type() || is_own(dy_NO.t())) {
    product(dy_NO.t(), x_NI, dweight_OI, 1.0);
  } else {
    // The library has no CPU product of bfloat16 into float32 (see the header): rounded, then
    // added.
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    at::Tensor out = dweight_OI;
    out.add_(at::mm(dy_NO.t(), x_NI));
  }
}

void linear_backward_weight_scaled(const at::Tensor& dy_NO, const at::Tensor& x_NI,
                                   const at::Tensor& row_scale_N, const at::Tensor& dweight_OI,
                                   const at::Tensor& spare_NI) {
  if (!is_own(dy_NO.t())) {  // on CUDA, too
    scale_rows(x_NI, row_scale_N, spare_NI);
    linear_backward_weight(dy_NO, spare_NI, dweight_OI);
    return;
  }
  const profile::Scope scope("linear_backward_weight", [&] {
    return work_of(dy_NO, x_NI, {dy_NO, x_NI, dweight_OI, dweight_OI});
  });
  own_product(dy_NO.t(), x_NI, dweight_OI, true, {.a_rows = {}, .b_rows = row_scale_N});
}

}  // namespace growmerge::ops
