#include "core/transformer/parameters.h"

#include "core/base/error.h"

namespace growmerge::transformer {
namespace {

/// Kernels take plain pointers: what does not fit would be read out of bounds.
void expect(const TensorSpec& spec, const at::Tensor& tensor, at::ScalarType dtype,
            at::Device device, const char* what) {
  GM_CHECK(tensor.sizes() == at::IntArrayRef(spec.shape), kMismatch, what, ": tensor '", spec.name,
           "' has shape ", tensor.sizes(), ", the configuration asks for ",
           at::IntArrayRef(spec.shape));
  GM_CHECK(tensor.scalar_type() == dtype, kMismatch, what, ": tensor '", spec.name, "' is ",
           c10::toString(tensor.scalar_type()), ", expected ", c10::toString(dtype));
  GM_CHECK(tensor.device() == device, kMismatch, what, ": tensor '", spec.name, "' is on ",
           tensor.device().str(), ", expected ", device.str());
  GM_CHECK(tensor.is_contiguous(), kMismatch, what, ": tensor '", spec.name, "' is not contiguous");
}

/// Every model has an embedding, whatever else its family has.
const at::Tensor& embedding(const ParamMap& params) {
  return params.at(tensor_name(Role::kEmbedding));
}

}  // namespace

ModelParams model_params(const ModelConfig& config, const ParamMap& params, at::ScalarType dtype,
                         at::Device device, const char* what) {
  ModelParams out;
  out.layers.resize(static_cast<std::size_t>(config.num_layers));
  for (const TensorSpec& spec : model_tensors(config)) {
    const at::Tensor& tensor = params.at(spec.name);
    expect(spec, tensor, dtype, device, what);
    RoleTensors& place =
        spec.place.layer ? out.layers[static_cast<std::size_t>(*spec.place.layer)] : out.outer;
    place.set(spec.place.row->role, tensor);
    std::int64_t first = 0;
    for (const Role part : spec.place.row->parts) {  // computed with as if they lay apart
      const std::int64_t rows = tensor_shape(config, tensor_row(part))[0];
      place.set(part, tensor.narrow(0, first, rows));
      first += rows;
    }
  }
  out.head = config.tie_word_embeddings ? out.outer[Role::kEmbedding] : out.outer[Role::kHead];
  return out;
}

at::ScalarType compute_dtype(const ParamMap& params) { return embedding(params).scalar_type(); }

at::Device compute_device(const ParamMap& params) { return embedding(params).device(); }

void require_cpu(const ParamMap& params, const char* what) {
  GM_CHECK(compute_device(params).is_cpu(), kUnsupported, what,
           " runs on CPU tensors, the parameters are on ", compute_device(params).str());
}

}  // namespace growmerge::transformer
