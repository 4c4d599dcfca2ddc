#include "core/ops/linear.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/kernel_set.h"

namespace growmerge::ops {
namespace {

/// Products with fewer rows than this are LibTorch's: packing a matrix for them costs too much.
constexpr std::int64_t kFewestRows = 16;
/// Multiply-adds that make a thread worth waking.
constexpr double kGrain = 1e6;

/// A thread's memory for packed blocks, kept from one product to the next.
void* scratch(std::int64_t bytes) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  static thread_local std::unique_ptr<void, Free> memory;
  static thread_local std::int64_t held = 0;
  if (held < bytes) {
    memory.reset();
    memory.reset(std::aligned_alloc(64, static_cast<std::size_t>((bytes + 63) / 64 * 64)));
    GM_CHECK(memory != nullptr, kIo, "product: out of memory for ", bytes, " bytes");
    held = bytes;
  }
  return memory.get();
}

/// Cut among threads by rows or by columns, whichever packs less twice.
template <class T>
void run(const GemmTask<T>& whole) {
  const double work =
      static_cast<double>(whole.m) * static_cast<double>(whole.n) * static_cast<double>(whole.k);
  const auto parts = static_cast<std::int64_t>(
      std::min(static_cast<double>(at::get_num_threads()), std::max(1.0, work / kGrain)));
  const std::int64_t packed_a = whole.a_col == 1 ? 0 : whole.m;
  const bool by_columns = packed_a < whole.n && whole.n >= 256 * parts;
  const std::int64_t unit = by_columns ? 32 : 8;
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
      task.scratch = scratch(gemm_scratch_bytes(task.k, sizeof(T) < 4 && task.sum == nullptr));
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

/// C (+)= A B by our own kernels. C in the type of A and B is rounded once.
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

/// Of a product of A and a matrix with as many columns as `like`.
profile::Work work_of(const at::Tensor& a, const at::Tensor& like,
                      std::initializer_list<at::Tensor> moved) {
  return {.flops = 2.0 * static_cast<double>(a.numel()) * static_cast<double>(like.size(1)),
          .bytes = bytes_of(moved)};
}

void product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, double beta) {
  if (is_own(a)) {
    own_product(a, b, c, beta != 0.0);
    return;
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  at::Tensor out = c;
  if (beta == 0.0) {
    at::mm_out(out, a, b);
  } else {
    at::addmm_out(out, c, a, b, beta, 1.0);
  }
}

}  // namespace

void linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& y,
                    double beta) {
  if (x.is_cuda()) {
    return cuda_ops().linear_forward(x, weight, y, beta);
  }
  const profile::Scope scope("linear_forward", [&] { return work_of(x, y, {x, weight, y}); });
  product(x, weight.t(), y, beta);
}

void linear_forward_with_bias(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const at::Tensor& y) {
  if (!bias.defined()) {
    linear_forward(x, weight, y);
    return;
  }
  y.copy_(bias.expand_as(y));
  linear_forward(x, weight, y, 1.0);
}

void linear_backward_bias(const at::Tensor& dy, const at::Tensor& dbias) {
  if (dbias.defined()) {
    dbias.add_(at::sum(dy, 0, /*keepdim=*/false, dbias.scalar_type()));
  }
}

void linear_backward_input(const at::Tensor& dy, const at::Tensor& weight, const at::Tensor& dx,
                           double beta) {
  if (dy.is_cuda()) {
    return cuda_ops().linear_backward_input(dy, weight, dx, beta);
  }
  const profile::Scope scope("linear_backward_input", [&] {
    return work_of(dy, dx, {dy, weight, dx});
  });
  product(dy, weight, dx, beta);
}

void linear_backward_input_scaled(const at::Tensor& dy, const at::Tensor& weight,
                                  const at::Tensor& row_scale, const at::Tensor& dx,
                                  const at::Tensor& spare) {
  if (!is_own(dy)) {
    linear_backward_input(dy, weight, spare);
    add_scaled_rows(spare, row_scale, dx);
    return;
  }
  const profile::Scope scope("linear_backward_input", [&] {
    return work_of(dy, dx, {dy, weight, dx, dx});
  });
  own_product(dy, weight, dx, true, {.a_rows = row_scale, .b_rows = {}});
}

void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& dweight) {
  if (dy.is_cuda()) {
    return cuda_ops().linear_backward_weight(dy, x, dweight);
  }
  const profile::Scope scope("linear_backward_weight", [&] {
    return work_of(dy, x, {dy, x, dweight, dweight});
  });
  if (dy.scalar_type() == dweight.scalar_type() || is_own(dy.t())) {
    product(dy.t(), x, dweight, 1.0);
  } else {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    at::Tensor out = dweight;
    out.add_(at::mm(dy.t(), x));
  }
}

void linear_backward_weight_scaled(const at::Tensor& dy, const at::Tensor& x,
                                   const at::Tensor& row_scale, const at::Tensor& dweight,
                                   const at::Tensor& spare) {
  if (!is_own(dy.t())) {
    scale_rows(x, row_scale, spare);
    linear_backward_weight(dy, spare, dweight);
    return;
  }
  const profile::Scope scope("linear_backward_weight", [&] {
    return work_of(dy, x, {dy, x, dweight, dweight});
  });
  own_product(dy.t(), x, dweight, true, {.a_rows = {}, .b_rows = row_scale});
}

}  // namespace growmerge::ops
