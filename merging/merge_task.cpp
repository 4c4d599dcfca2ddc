#include "merging/merge_task.h"

#include "core/model/tensor_table.h"

namespace growmerge::merging {
namespace {

bool has_vocabulary(const OutputTensor& out) {
  const TensorKind kind = out.spec.place.row->kind;
  return kind == TensorKind::kEmbedding || kind == TensorKind::kHead;
}

/// `index`: of models, then bases.
TileSource tiles_of(const MergePlan& plan, const OutputTensor& out, const RecipeSource& source,
                    const SourceModel& model, std::size_t index) {
  const std::string tensor = source_tensor(out, source, model);
  if (!plan.vocabulary || !has_vocabulary(out)) {
    return model.tiles(tensor);
  }
  std::vector<TileSource> all;
  for (const auto* list : {&plan.models, &plan.bases}) {
    for (const SourceModel& one : *list) {
      all.push_back(one.tiles(source_tensor(out, source, one)));
    }
  }
  return mapped_tiles(plan.vocabulary->maps[index], std::move(all), out.spec.shape[1],
                      "tensor '" + tensor + "' of '" + model.name() + "'");
}

}  // namespace

std::string source_tensor(const OutputTensor& out, const RecipeSource& source,
                          const SourceModel& model) {
  const TensorRow& row = *out.spec.place.row;
  if (row.role == Role::kHead) {
    return head_tensor_name(model.config());  // of a tied model the embedding
  }
  return tensor_name(row.role, row.is_in_layer() ? source.first_layer + out.layer : 0);
}

TensorTask task_without_inputs(const MergePlan& plan, const OutputTensor& out) {
  const Recipe& recipe = plan.recipe;
  const RecipeSlice& slice = recipe.slices[out.slice];
  TensorTask task;
  task.name = out.spec.name;
  task.num_elements = out.spec.num_elements();
  task.shape = out.spec.shape;
  task.seed = recipe.random_seed;
  for (const Parameter& parameter : recipe.method->parameters) {
    if (!parameter.is_idle && parameter.scope == Parameter::Scope::kTensor) {
      task.arguments.set(
          parameter,
          recipe.slice_parameter(slice, parameter.name, parameter.fallback, task.name, out.depth));
    }
  }
  if (slice.base) {
    const std::size_t place = slice.base->model;
    task.has_base = true;
    task.base = tiles_of(plan, out, *slice.base, plan.bases[place], plan.models.size() + place);
  }
  return task;
}

TensorTask::Input make_input(const MergePlan& plan, const OutputTensor& out,
                             const RecipeSource& source) {
  const Recipe& recipe = plan.recipe;
  const RecipeSlice& slice = recipe.slices[out.slice];
  const SourceModel& model = plan.models[source.model];
  const std::string tensor = source_tensor(out, source, model);
  TensorTask::Input input;
  input.weights = tiles_of(plan, out, source, model, source.model);
  for (const Parameter& parameter : recipe.method->parameters) {
    if (!parameter.is_idle && parameter.scope == Parameter::Scope::kModel) {
      input.arguments.set(parameter,
                          recipe.source_parameter(slice, source, parameter.name, parameter.fallback,
                                                  tensor, out.depth));
    }
  }
  if (!plan.statistics.empty()) {
    const SafetensorsFile& file = plan.statistics[source.model];
    const TensorInfo& info = file.info(tensor);
    input.fisher = {.bytes = file.bytes(info),
                    .dtype = info.dtype,
                    .label = "tensor '" + tensor + "' of '" + file.path().string() + "'"};
  }
  return input;
}

TensorTask make_task(const MergePlan& plan, const OutputTensor& out,
                     const std::vector<double>& model_values) {
  TensorTask task = task_without_inputs(plan, out);
  for (const RecipeSource& source : plan.recipe.slices[out.slice].sources) {
    task.inputs.push_back(make_input(plan, out, source));
    task.inputs.back().model_value = model_values[source.model];
  }
  return task;
}

void drop_inputs(const MergePlan& plan, const OutputTensor& out) {
  const RecipeSlice& slice = plan.recipe.slices[out.slice];
  if (slice.base) {
    const SourceModel& base = plan.bases[slice.base->model];
    base.drop(source_tensor(out, *slice.base, base));
  }
  for (const RecipeSource& source : slice.sources) {
    const SourceModel& model = plan.models[source.model];
    const std::string tensor = source_tensor(out, source, model);
    model.drop(tensor);
    if (!plan.statistics.empty()) {
      const SafetensorsFile& statistics = plan.statistics[source.model];
      statistics.drop(statistics.info(tensor));
    }
  }
}

}  // namespace growmerge::merging
