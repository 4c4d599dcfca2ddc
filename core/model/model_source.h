// A model whose tensors are made when they are asked for, so that it need not be held.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/model/checkpoint.h"

namespace growmerge {

struct ModelSource {
  ModelConfig config;
  /// One tensor, by its name in model_tensors(config).
  std::function<at::Tensor(const std::string& name)> load;
};

/// Of one in memory, which must live as long.
[[nodiscard]] ModelSource source_of(const Model& model);

/// Of a checkpoint: what load_model() of `dtype` gives, tensor by tensor; nothing of it stays in
/// memory. Errors: those of load_model(), of the tensors when they are loaded.
[[nodiscard]] ModelSource source_of(const std::filesystem::path& dir, at::ScalarType dtype);

/// save_model() of a model that is made while it is written: one tensor in memory. Errors: those of
/// save_model(), and of load; what was written of the file by then does not bear its name.
void save_model(const std::filesystem::path& dir, const ModelSource& model,
                const SaveOptions& options);

}  // namespace growmerge
