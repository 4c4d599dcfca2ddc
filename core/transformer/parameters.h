// A model's tensors by their role in the table of tensors (shared with the ParamMap, not copied).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <vector>

#include "core/model/tensor_table.h"
#include "core/store/param_map.h"

namespace growmerge::transformer {

/// Tensors by role; a role that the model has not is undefined.
class RoleTensors {
 public:
  [[nodiscard]] const at::Tensor& operator[](Role role) const {
    return tensors_[static_cast<std::size_t>(role)];
  }
  void set(Role role, at::Tensor tensor) {
    tensors_[static_cast<std::size_t>(role)] = std::move(tensor);
  }

 private:
  std::array<at::Tensor, kNumRoles> tensors_;
};

struct ModelParams {
  RoleTensors outer;                // those outside the layers
  std::vector<RoleTensors> layers;  // one per layer
  at::Tensor head;                  // [V, d]: the embedding when tied
};

/// Errors: kNotFound, kMismatch naming the tensor whose shape, dtype, device or layout does not
/// fit.
[[nodiscard]] ModelParams model_params(const ModelConfig& config, const ParamMap& params,
                                       at::ScalarType dtype, at::Device device, const char* what);
/// The dtype and the device of the parameters.
[[nodiscard]] at::ScalarType compute_dtype(const ParamMap& params);
[[nodiscard]] at::Device compute_device(const ParamMap& params);
/// Errors: kUnsupported where the parameters are on another device: `what` runs on the CPU alone.
void require_cpu(const ParamMap& params, const char* what);

}  // namespace growmerge::transformer
