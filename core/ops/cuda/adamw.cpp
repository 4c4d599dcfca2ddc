// From maps of tensors to AdamW's kernels, kAdamWMost tensors a launch. Shapes: a parameter's
// gradient, moments and compute copy have its shape; schedule [AdamWSchedule::kSize], factors
// [AdamWFactors::kSize].
#include <ATen/ops/empty.h>

#include "core/ops/cuda/here.h"
#include "core/ops/cuda/kernels.h"
#include "core/ops/cuda/table.h"
#include "core/ops/dispatch.h"

namespace growmerge::ops::cuda {
namespace {

void check_tensor(const std::string& name, const char* role, const at::Tensor& tensor,
                  const at::Tensor& like, at::ScalarType dtype) {
  GM_CHECK(tensor.device() == like.device() && tensor.is_contiguous() &&
               tensor.scalar_type() == dtype && tensor.sizes() == like.sizes(),
           kMismatch, "adamw on CUDA: ", role, " of '", name,
           "' must be a contiguous CUDA tensor, ", c10::toString(dtype), " ", like.sizes(),
           "; got ", c10::toString(tensor.scalar_type()), " ", tensor.sizes(), " on ",
           tensor.device().str());
}

/// Calls launch(tensors) with the tensors of `map` that are T's, some at a time; fill(name, tensor,
/// tensors, place) adds one.
template <class T, class Fill, class Launch>
void in_batches(const ParamMap& map, at::ScalarType dtype, const Fill& fill, const Launch& launch) {
  AdamWTensors<T> tensors;
  for (const auto& [name, tensor] : map) {
    if (tensor.scalar_type() != dtype || tensor.numel() == 0) {
      continue;
    }
    fill(name, tensor, tensors, tensors.add(tensor.numel()));
    if (tensors.count == kAdamWMost) {
      launch(tensors);
      tensors = {};
    }
  }
  if (tensors.count > 0) {
    launch(tensors);
  }
}

void check_dtypes(const ParamMap& map, const char* what) {
  for (const auto& [name, tensor] : map) {
    GM_CHECK(tensor.scalar_type() == at::ScalarType::Float ||
                 tensor.scalar_type() == at::ScalarType::Double,
             kInvalidArgument, what, ": '", name, "' must be float32 or float64, got ",
             c10::toString(tensor.scalar_type()));
  }
}

/// Over all tensors, each cut by itself: as many as the launches of squared_norm() write sums.
std::int64_t num_pieces(const ParamMap& map) {
  std::int64_t pieces = 0;
  for (const auto& [name, tensor] : map) {
    pieces += (tensor.numel() + kAdamWPiece - 1) / kAdamWPiece;
  }
  return pieces;
}

void squared_norm(const ParamMap& grads, const at::Tensor& sum) {
  check_dtypes(grads, "squared_norm");
  const Here here(sum);
  GM_CHECK(sum.scalar_type() == at::ScalarType::Double && sum.numel() == 1, kInvalidArgument,
           "squared_norm on CUDA: the sum must be one float64");
  const std::int64_t pieces = num_pieces(grads);
  // One sum a piece, in the order of the map: adding them is left to one block, so the order is
  // fixed.
  const at::Tensor sums = at::empty({std::max<std::int64_t>(1, pieces)}, sum.options());
  double* next = data<double>(sums);
  const auto add = [&](auto type, at::ScalarType dtype) {
    using T = typename decltype(type)::type;
    in_batches<T>(
        grads, dtype,
        [&](const std::string& name, const at::Tensor& tensor, AdamWTensors<T>& to, int place) {
          check_tensor(name, "gradient", tensor, tensor, dtype);
          to.grad[place] = const_data<T>(tensor);
        },
        [&](const AdamWTensors<T>& tensors) {
          squared_norm_pieces(tensors, next, here.stream());
          next += tensors.pieces;
        });
  };
  // A launch has one element type.
  add(Type<float>{}, at::ScalarType::Float);
  add(Type<double>{}, at::ScalarType::Double);
  sum_pieces(pieces, const_data<double>(sums), data<double>(sum), here.stream());
}

void adamw_factors(const at::Tensor& schedule, const at::Tensor& squared_norm,
                   const at::Tensor& loss_sum, const at::Tensor& num_targets,
                   const at::Tensor& factors) {
  const auto check = [&](const char* name, const at::Tensor& tensor, std::int64_t size) {
    GM_CHECK(tensor.device() == factors.device() &&
                 tensor.scalar_type() == at::ScalarType::Double && tensor.numel() == size,
             kInvalidArgument, "adamw_factors: ", name, " must be ", size, " float64 on ",
             factors.device().str(), ", got ", tensor.numel(), " ",
             c10::toString(tensor.scalar_type()), " on ", tensor.device().str());
  };
  check("schedule", schedule, AdamWSchedule::kSize);
  check("squared_norm", squared_norm, 1);
  check("loss_sum", loss_sum, 1);
  check("num_targets", num_targets, 1);
  check("factors", factors, AdamWFactors::kSize);
  const Here here(factors);
  cuda::adamw_factors(const_data<double>(schedule), const_data<double>(squared_norm),
                      const_data<double>(loss_sum), const_data<double>(num_targets),
                      data<double>(factors), here.stream());
}

void adamw_step(const ParamMap& params, const ParamMap& grads, const AdamWState& state,
                const at::Tensor& factors, const AdamWConfig& config, const ParamMap& compute) {
  config.validate();
  check_dtypes(params, "adamw on CUDA");
  const Here here(factors);
  const AdamWConstants constants{.beta1 = config.beta1,
                                 .beta2 = config.beta2,
                                 .eps = config.eps,
                                 .weight_decay = config.weight_decay};
  const auto step = [&](auto type, at::ScalarType dtype) {
    using T = typename decltype(type)::type;
    in_batches<T>(
        params, dtype,
        [&](const std::string& name, const at::Tensor& param, AdamWTensors<T>& to, int place) {
          const at::Tensor& grad = grads.at(name);
          const at::Tensor& m = state.m.at(name);
          const at::Tensor& v = state.v.at(name);
          check_tensor(name, "parameter", param, param, dtype);
          check_tensor(name, "gradient", grad, param, dtype);
          check_tensor(name, "first moment", m, param, dtype);
          check_tensor(name, "second moment", v, param, dtype);
          to.param[place] = data<T>(param);
          to.grad[place] = const_data<T>(grad);
          to.m[place] = data<T>(m);
          to.v[place] = data<T>(v);
          to.copy[place] = nullptr;
          if (!compute.empty()) {
            check_tensor(name, "compute copy", compute.at(name), param, at::ScalarType::BFloat16);
            to.copy[place] = data<Bf16>(compute.at(name));
          }
          to.decayed[place] = config.decay_all || param.dim() >= 2;
        },
        [&](const AdamWTensors<T>& tensors) {
          cuda::adamw_step(tensors, constants, const_data<double>(factors), here.stream());
        });
  };
  step(Type<float>{}, at::ScalarType::Float);
  step(Type<double>{}, at::ScalarType::Double);
}

}  // namespace

void fill_adamw_ops(CudaOps& ops) {
  ops.squared_norm = squared_norm;
  ops.adamw_factors = adamw_factors;
  ops.adamw_step = adamw_step;
}

}  // namespace growmerge::ops::cuda
