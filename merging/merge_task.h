// From the plan of a merge to the task of one tensor: which tensors of which models, and the
// method's parameters there.
#pragma once

#include <string>
#include <vector>

#include "merging/merge.h"
#include "merging/tensor_task.h"

namespace growmerge::merging {

/// The tensor of this source that goes into an output tensor.
[[nodiscard]] std::string source_tensor(const OutputTensor& out, const RecipeSource& source,
                                        const SourceModel& model);

/// The task but for inputs and output.
[[nodiscard]] TensorTask task_without_inputs(const MergePlan& plan, const OutputTensor& out);
/// The input from one source of the tensor's slice.
[[nodiscard]] TensorTask::Input make_input(const MergePlan& plan, const OutputTensor& out,
                                           const RecipeSource& source);
/// The task of a tensor but for its output. `model_values`: of each model, in recipe.models' order.
[[nodiscard]] TensorTask make_task(const MergePlan& plan, const OutputTensor& out,
                                   const std::vector<double>& model_values);

/// Tells the kernel that the mappings' pages of the tensor's inputs may go; they stay in its cache.
void drop_inputs(const MergePlan& plan, const OutputTensor& out);

}  // namespace growmerge::merging
