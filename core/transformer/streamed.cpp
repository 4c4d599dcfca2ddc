#include "core/transformer/streamed.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <map>

#include "core/model/tensor_table.h"
#include "core/transformer/forward.h"

namespace growmerge {
namespace {

/// Matrices of a layer take turns in one place; vectors are small, and the norm of the next layer
/// is needed at the end of this one.
bool takes_turns(const TensorSpec& spec) { return spec.place.layer && spec.shape.size() > 1; }

}  // namespace

StreamedPass streamed_hidden_states(const ModelSource& model, at::ScalarType dtype,
                                    const at::Tensor& tokens,
                                    std::span<const std::int32_t> segment_starts) {
  const ModelConfig& config = model.config;
  const std::vector<TensorSpec> specs = model_tensors(config);
  StreamedPass out;
  ParamMap params;
  std::map<Role, at::Tensor> places;  // of what takes turns
  for (const TensorSpec& spec : specs) {
    if (takes_turns(spec)) {
      at::Tensor& place = places[spec.place.row->role];
      if (!place.defined()) {
        place = at::empty(spec.shape, dtype);
      }
      params.set(spec.name, place);
      continue;
    }
    const at::Tensor tensor = model.load(spec.name).to(dtype);
    params.set(spec.name, tensor);
    if (!spec.place.layer) {
      out.outer.set(spec.name, tensor);
    }
  }
  const auto load_layer = [&](std::int64_t layer) {
    for (const TensorSpec& spec : specs) {
      if (takes_turns(spec) && *spec.place.layer == layer) {
        places.at(spec.place.row->role).copy_(model.load(spec.name));
      }
    }
  };

  out.hidden =
      transformer::run_layers(config, params, tokens, segment_starts, nullptr, nullptr, load_layer);
  return out;
}

std::int64_t streamed_bytes(const ModelConfig& config, at::ScalarType dtype,
                            at::ScalarType loaded) {
  std::int64_t outer = 0;
  std::int64_t layer = 0;
  std::int64_t largest = 0;
  for (const TensorSpec& spec : model_tensors(config)) {
    if (!spec.place.layer) {
      outer += spec.num_elements();
    } else if (*spec.place.layer == 0) {
      layer += spec.num_elements();
    }
    largest = std::max(largest, spec.num_elements());
  }
  return (outer + layer) * static_cast<std::int64_t>(c10::elementSize(dtype)) +
         largest * static_cast<std::int64_t>(c10::elementSize(loaded));
}

}  // namespace growmerge
