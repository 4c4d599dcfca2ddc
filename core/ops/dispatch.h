// From a tensor's dtype to its kernels' element type, and how much work a thread is woken for.
//
// Operators on CPU tensors look alike: CUDA tensors go to the same entry of cuda_ops() and return,
// a profile scope opens, dispatch() finds the element type, and rows are cut among threads, whose
// shares go to the kernels of this processor's instruction set.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "core/base/error.h"
#include "core/base/profile.h"
#include "core/ops/cuda_ops.h"
#include "core/ops/kernels/kernels.h"

namespace growmerge::ops {

template <class T>
struct Type {
  using type = T;
};

/// Calls fn(Type<float>), fn(Type<double>) or fn(Type<Bf16>). Errors: kUnsupported naming another
/// dtype.
template <class Fn>
decltype(auto) dispatch(at::ScalarType dtype, Fn&& fn) {
  switch (dtype) {
    case at::ScalarType::Float:
      return fn(Type<float>{});
    case at::ScalarType::Double:
      return fn(Type<double>{});
    case at::ScalarType::BFloat16:
      return fn(Type<Bf16>{});
    default:
      fail(ErrorCode::kUnsupported, "the model computes in float32, float64 or bfloat16, not in ",
           c10::toString(dtype), ": convert the parameters");
  }
}

/// The dtype of statistics, sums and gradients: float64 for float64, else float32.
[[nodiscard]] inline at::ScalarType acc_dtype(at::ScalarType dtype) {
  return dtype == at::ScalarType::Double ? at::ScalarType::Double : at::ScalarType::Float;
}

template <class T>
[[nodiscard]] T* data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}
template <class T>
[[nodiscard]] const T* const_data(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

/// Bytes of tensors that an operator reads or writes once, for the profile.
[[nodiscard]] inline double bytes_of(std::initializer_list<at::Tensor> tensors) {
  double sum = 0.0;
  for (const at::Tensor& tensor : tensors) {
    sum += tensor.defined() ? static_cast<double>(tensor.nbytes()) : 0.0;
  }
  return sum;
}

/// Rows that make a thread worth waking: about 32k elements.
[[nodiscard]] inline std::int64_t grain(std::int64_t row_elements) {
  return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, row_elements));
}

}  // namespace growmerge::ops
