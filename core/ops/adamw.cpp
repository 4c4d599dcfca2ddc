#include "core/ops/adamw.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.h"
#include "core/base/profile.h"
#include "core/model/tensor_table.h"
#include "core/ops/adamw_kernel.h"

// Shapes: a parameter's gradient, moments and compute copy have its shape; all are walked over as
// flat arrays, cut into pieces. Symbols: core/ops/adamw.h.
namespace growmerge {
namespace {

// Work is cut into pieces of this many elements, whatever the number of threads: element-wise
// results do not depend on it, and the order of squared_norm's additions is fixed by it.
constexpr std::int64_t kPieceElements = 1 << 15;

struct Piece {
  std::size_t tensor = 0;  // index into the list of tensors
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

std::vector<Piece> cut_into_pieces(const ParamMap& tensors) {
  std::vector<Piece> pieces;
  std::size_t index = 0;
  for (const auto& [name, tensor] : tensors) {
    for (std::int64_t begin = 0; begin < tensor.numel(); begin += kPieceElements) {
      pieces.push_back({index, begin, std::min(begin + kPieceElements, tensor.numel())});
    }
    ++index;
  }
  return pieces;
}

// One parameter's buffers, of one shape. They hold references to the tensors' memory, no copies.
struct Buffers {
  at::Tensor param, grad, m, v, compute;
  bool decayed = false;
};

void check_buffer(const std::string& name, const char* role, const at::Tensor& tensor,
                  const at::Tensor& param) {
  GM_CHECK(tensor.sizes() == param.sizes(), kMismatch, "adamw: ", role, " of '", name,
           "' has shape ", tensor.sizes(), ", the parameter has ", param.sizes());
  GM_CHECK(tensor.is_contiguous() && tensor.device().is_cpu(), kInvalidArgument, "adamw: ", role,
           " of '", name, "' must be a contiguous CPU tensor");
}

Buffers buffers_of(const std::string& name, const at::Tensor& param, const ParamMap& grads,
                   const AdamWState& state, const ParamMap& compute) {
  const at::ScalarType dtype = param.scalar_type();
  GM_CHECK(dtype == at::ScalarType::Float || dtype == at::ScalarType::Double, kInvalidArgument,
           "adamw: parameter '", name, "' must be float32 or float64, got ", at::toString(dtype),
           "; keep float32 master weights and pass lower precision as `compute`");
  Buffers out{param, grads.at(name), state.m.at(name), state.v.at(name), {}, false};
  check_buffer(name, "parameter", param, param);
  for (const auto& [role, tensor] :
       {std::pair{"gradient", out.grad}, {"first moment", out.m}, {"second moment", out.v}}) {
    check_buffer(name, role, tensor, param);
    GM_CHECK(tensor.scalar_type() == dtype, kMismatch, "adamw: ", role, " of '", name, "' is ",
             at::toString(tensor.scalar_type()), ", the parameter is ", at::toString(dtype));
  }
  if (!compute.empty()) {
    out.compute = compute.at(name);
    check_buffer(name, "compute copy", out.compute, param);
    const at::ScalarType copy = out.compute.scalar_type();
    GM_CHECK(copy == at::ScalarType::BFloat16 || copy == dtype, kInvalidArgument,
             "adamw: compute copy of '", name, "' must be bfloat16 or the parameter's dtype, got ",
             at::toString(copy));
  }
  return out;
}

/// One step of elements [piece.begin, piece.end) of one parameter, everything in place.
template <class T>
void step_piece(const Buffers& b, const Piece& piece, const adamw::Factors& factors) {
  const std::int64_t n = piece.end - piece.begin;
  T* param = b.param.data_ptr<T>() + piece.begin;
  const adamw::Arrays<T> arrays{param, b.grad.const_data_ptr<T>() + piece.begin,
                                b.m.data_ptr<T>() + piece.begin, b.v.data_ptr<T>() + piece.begin};
  std::uint16_t* bf16 = nullptr;
  if (b.compute.defined() && b.compute.scalar_type() == at::ScalarType::BFloat16) {
    bf16 = static_cast<std::uint16_t*>(b.compute.data_ptr()) + piece.begin;
  }
  adamw::step(arrays, bf16, n, factors);
  // A copy in the parameter's own dtype; none where that is the parameter itself.
  if (b.compute.defined() && bf16 == nullptr && b.compute.data_ptr() != b.param.data_ptr()) {
    std::copy(param, param + n, b.compute.data_ptr<T>() + piece.begin);
  }
}

}  // namespace

void AdamWConfig::validate() const {
  for (const auto& [key, beta] : {std::pair{"beta1", beta1}, {"beta2", beta2}}) {
    GM_CHECK(beta >= 0.0 && beta < 1.0, kInvalidArgument, "adamw: ", key,
             " must be in [0, 1), got ", beta);
  }
  GM_CHECK(eps > 0.0, kInvalidArgument, "adamw: eps must be positive, got ", eps);
  GM_CHECK(weight_decay >= 0.0, kInvalidArgument, "adamw: weight_decay must not be negative, got ",
           weight_decay);
}

AdamWState make_adamw_state(const ParamMap& params) {
  AdamWState state;
  for (const auto& [name, tensor] : params) {
    const at::ScalarType dtype = tensor.scalar_type() == at::ScalarType::Double
                                     ? at::ScalarType::Double
                                     : at::ScalarType::Float;
    ParamMap one;
    one.set(name, tensor);
    state.m.set(name, one.zeros_like(dtype).at(name));
    state.v.set(name, one.zeros_like(dtype).at(name));
  }
  return state;
}

void adamw_step_(const ParamMap& params, const ParamMap& grads, AdamWState& state, double lr,
                 double grad_scale, const AdamWConfig& config, const ParamMap& compute) {
  const profile::Scope scope("adamw");
  config.validate();
  // All checks before the first change: a step is taken by every parameter or by none.
  std::vector<Buffers> tensors;
  for (const auto& [name, param] : params) {
    tensors.push_back(buffers_of(name, param, grads, state, compute));
    const std::optional<TensorPlace> place = find_tensor(name);
    tensors.back().decayed = config.decay_all || (place ? place->row->decays : param.dim() >= 2);
  }
  ++state.step;
  // In float64, once a step: 1 - beta^t cancels while beta^t is near 1.
  const double t = static_cast<double>(state.step);
  adamw::Factors plain;
  plain.beta1 = config.beta1;
  plain.beta2 = config.beta2;
  plain.eps = config.eps;
  plain.grad_scale = grad_scale;
  plain.step_size = lr / (1.0 - std::pow(config.beta1, t));
  plain.inv_root_correction2 = 1.0 / std::sqrt(1.0 - std::pow(config.beta2, t));
  adamw::Factors decayed = plain;  // decay is decoupled: it shrinks the parameter, not the gradient
  decayed.keep = 1.0 - lr * config.weight_decay;

  const std::vector<Piece> pieces = cut_into_pieces(params);
  at::parallel_for(0, static_cast<std::int64_t>(pieces.size()), 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = begin; i < end; ++i) {
                       const Piece& piece = pieces[static_cast<std::size_t>(i)];
                       const Buffers& b = tensors[piece.tensor];
                       const adamw::Factors& factors = b.decayed ? decayed : plain;
                       if (b.param.scalar_type() == at::ScalarType::Double) {
                         step_piece<double>(b, piece, factors);
                       } else {
                         step_piece<float>(b, piece, factors);
                       }
                     }
                   });
}

double squared_norm(const ParamMap& grads) {
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : grads) {
    const at::ScalarType dtype = tensor.scalar_type();
    GM_CHECK(dtype == at::ScalarType::Float || dtype == at::ScalarType::Double, kInvalidArgument,
             "squared_norm: '", name, "' must be float32 or float64, got ", at::toString(dtype));
    check_buffer(name, "gradient", tensor, tensor);
    tensors.push_back(tensor);
  }
  const std::vector<Piece> pieces = cut_into_pieces(grads);
  std::vector<double> sums(pieces.size(), 0.0);
  at::parallel_for(
      0, static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const Piece& piece = pieces[static_cast<std::size_t>(i)];
          const at::Tensor& tensor = tensors[piece.tensor];
          const std::int64_t n = piece.end - piece.begin;
          sums[static_cast<std::size_t>(i)] =
              tensor.scalar_type() == at::ScalarType::Double
                  ? adamw::sum_of_squares(tensor.const_data_ptr<double>() + piece.begin, n)
                  : adamw::sum_of_squares(tensor.const_data_ptr<float>() + piece.begin, n);
        }
      });
  double total = 0.0;  // piece by piece in their order, whoever summed them
  for (const double sum : sums) {
    total += sum;
  }
  return total;
}

}  // namespace growmerge
