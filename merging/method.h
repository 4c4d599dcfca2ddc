// A merge method as data: what recipes are checked by, --help and docs/methods/merge-methods.md
// printed from, memory estimated by and tensors merged by. Each stands beside its function in
// merging/methods/NAME.h; merging/methods/methods.h lists them.
#pragma once

#include <functional>
#include <span>

#include "merging/parameter.h"
#include "merging/tensor_task.h"

namespace growmerge::merging {

enum class BaseUse { kNone, kOptional, kRequired };

/// What a recipe must (or may) hold beside models and parameters.
struct Needs {
  BaseUse base = BaseUse::kNone;
  std::size_t min_models = 1;   // the base not counted
  std::size_t max_models = 0;   // 0: any number
  bool fisher = false;          // `statistics` of each model: TensorTask::Input::fisher
  bool random_numbers = false;  // takes `random_seed`: TensorTask::seed
};

/// How much must be seen before the first element of a result is known.
enum class Granularity {
  kTile,    // that element of the inputs
  kTensor,  // the whole tensor: its tiles are read twice
  kModel,   // the whole model: model_pass runs first
};

/// Calls its argument with every tensor of one model: as a task with that model as its one input,
/// and no output. Pages are dropped behind.
using TensorWalk = std::function<void(const std::function<void(const TensorTask&)>&)>;

struct Method {
  const char* name;        // mergekit's, where it has the method
  const char* doc;         // one line
  const char* source;      // paper
  const char* definition;  // of the result theta: theta_0 the base, theta_i models, delta_i their
                           // differences from it, w_i weights
  Needs needs;
  std::span<const Parameter> parameters;
  Granularity granularity = Granularity::kTile;
  /// Bytes beside the tiles, for each model and each element of the largest tensor.
  double memory_per_element = 0.0;
  /// kModel only: what must be known of a model before its first tensor is merged.
  double (*model_pass)(const TensorWalk& for_each_tensor) = nullptr;
  /// Makes one tensor. Threads: those of the caller's pool; may run for several tensors at once.
  void (*merge)(const TensorTask& task);
};

}  // namespace growmerge::merging
