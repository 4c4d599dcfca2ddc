#include "merging/output_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "merging/merge_task.h"

namespace growmerge::merging {
namespace {

using Json = nlohmann::ordered_json;

bool has_slices(const Recipe& recipe) { return recipe.slices.front().num_layers.has_value(); }

bool allows(const Recipe& recipe, std::initializer_list<const char*> keys) {
  return std::any_of(keys.begin(), keys.end(), [&recipe](const std::string& key) {
    return std::find(recipe.allowed_differences.begin(), recipe.allowed_differences.end(), key) !=
           recipe.allowed_differences.end();
  });
}

/// `config` with what may differ set to the leader's.
ModelConfig comparable(ModelConfig config, const ModelConfig& leader, const Recipe& recipe) {
  if (has_slices(recipe)) {  // compared layer by layer
    config.num_layers = leader.num_layers;
    config.layer_types = leader.layer_types;
    config.no_rope_layers = leader.no_rope_layers;
  }
  if (recipe.tokenizer) {
    config.vocab_size = leader.vocab_size;
  }
  if (recipe.tokenizer || allows(recipe, {"tie_word_embeddings"})) {
    config.tie_word_embeddings = leader.tie_word_embeddings;
  }
  if (allows(recipe, {"rope_theta", "rope_scaling", "rope_parameters"})) {
    config.rope = leader.rope;
    config.local_rope = leader.local_rope;
    config.partial_rotary_factor = leader.partial_rotary_factor;
  }
  if (allows(recipe, {"rms_norm_eps"})) {
    config.rms_norm_eps = leader.rms_norm_eps;
  }
  if (allows(recipe, {"sliding_window", "layer_types"})) {
    config.sliding_window = leader.sliding_window;
    config.use_sliding_window = leader.use_sliding_window;
    config.layer_types = leader.layer_types;
  }
  return config;
}

/// The numbers that decide what a model computes must be the same, or the merge means nothing.
void check_same_architecture(const MergePlan& plan, const SourceModel& other) {
  const SourceModel& leader = plan.leader();
  const auto difference =
      first_difference(leader.config(), comparable(other.config(), leader.config(), plan.recipe));
  if (!difference) {
    return;
  }
  const bool is_vocabulary = difference->key == "vocab_size";
  const bool may_be_allowed =
      difference->key.starts_with("rope") || difference->key == "rms_norm_eps" ||
      difference->key == "tie_word_embeddings" || difference->key == "sliding_window";
  fail(ErrorCode::kMismatch, "'", leader.name(), "' has ", difference->key, " ", difference->first,
       ", '", other.name(), "' has ", difference->second,
       is_vocabulary ? ": give tokenizer_source (union, base or a model), which brings the models "
                       "to one vocabulary"
                     : ": only models of one shape can be merged",
       may_be_allowed
           ? concat(" (allow_config_differences: [",
                    difference->key.starts_with("rope") ? "rope_theta" : difference->key,
                    "] merges them all the same, and keeps what '", leader.name(), "' has)")
           : "");
}

/// The layer_range of each source, against its model.
void check_layers(const RecipeSlice& slice, const RecipeSource& source, const SourceModel& model) {
  const std::int64_t end = source.first_layer + slice.num_layers.value_or(0);
  GM_CHECK(end <= model.config().num_layers, kInvalidArgument, source.where, ": layer_range [",
           source.first_layer, ", ", end, "] goes beyond '", model.name(), "', which has ",
           model.config().num_layers, " layers");
}

/// Layers that are merged must see the same: window, RoPE.
void check_same_layer(const RecipeSlice& slice, std::int64_t layer, const SourceModel& a,
                      std::int64_t a_layer, const SourceModel& b, std::int64_t b_layer) {
  const auto kind = [](const ModelConfig& c, std::int64_t i) {
    return std::tuple(c.window_of(i), c.uses_rope(i), c.uses_local_rope(i));
  };
  GM_CHECK(kind(a.config(), a_layer) == kind(b.config(), b_layer), kUnsupported, slice.where,
           ": layer ", layer, " of this slice: layer ", a_layer, " of '", a.name(), "' and layer ",
           b_layer, " of '", b.name(),
           "' are of different kinds (window or RoPE by layer): they compute different things");
}

/// The first source of a slice, or its base where that is the leader: whose lists by layer count.
struct Pick {
  const SourceModel* model;
  std::int64_t layer;
};

std::vector<Pick> picks_of(const MergePlan& plan) {
  std::vector<Pick> out;
  for (const RecipeSlice& slice : plan.recipe.slices) {
    const RecipeSource& source = slice.sources.front();
    const SourceModel& model = plan.models[source.model];
    check_layers(slice, source, model);
    for (std::int64_t i = 0; i < *slice.num_layers; ++i) {
      out.push_back({&model, source.first_layer + i});
    }
    const auto compare = [&](const RecipeSource& other, const SourceModel& other_model) {
      check_layers(slice, other, other_model);
      for (std::int64_t i = 0; i < *slice.num_layers; ++i) {
        check_same_layer(slice, i, model, source.first_layer + i, other_model,
                         other.first_layer + i);
      }
    };
    for (const RecipeSource& other : slice.sources) {
      compare(other, plan.models[other.model]);
    }
    if (slice.base) {
      compare(*slice.base, plan.bases[slice.base->model]);
    }
  }
  return out;
}

/// Lists of config.json that have an entry for each layer, also those that nobody here reads.
std::string lists_by_layer(const SourceModel& leader, const std::vector<Pick>& picks) {
  Json json = Json::parse(leader.config().source_json, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return leader.config().source_json;
  }
  const auto num_layers = static_cast<std::size_t>(leader.config().num_layers);
  for (auto& [key, value] : json.items()) {
    if (key.find("layer") == std::string::npos || !value.is_array() || value.size() != num_layers) {
      continue;
    }
    Json list = Json::array();
    for (const Pick& pick : picks) {
      const Json theirs =
          Json::parse(pick.model->config().source_json, nullptr, /*allow_exceptions=*/false);
      const auto layer = static_cast<std::size_t>(pick.layer);
      const bool is_there = theirs.is_object() && theirs.contains(key) && theirs[key].is_array() &&
                            layer < theirs[key].size();
      list.push_back(is_there ? theirs[key][layer] : value[layer % num_layers]);
    }
    value = std::move(list);
  }
  return json.dump(2);
}

void stack_layers(const MergePlan& plan, ModelConfig& config) {
  const std::vector<Pick> picks = picks_of(plan);
  config.source_json = lists_by_layer(plan.leader(), picks);
  config.num_layers = static_cast<std::int64_t>(picks.size());
  const auto follow = [&picks](auto ModelConfig::*list, auto& out) {
    if (out.empty()) {
      return;
    }
    out.clear();
    for (const Pick& pick : picks) {
      out.push_back((pick.model->config().*list)[static_cast<std::size_t>(pick.layer)]);
    }
  };
  follow(&ModelConfig::layer_types, config.layer_types);
  follow(&ModelConfig::no_rope_layers, config.no_rope_layers);
}

/// In which the output tensor is where the recipe names none.
at::ScalarType own_dtype(const MergePlan& plan, const OutputTensor& out) {
  const RecipeSlice& slice = plan.recipe.slices[out.slice];
  // The leader's own tensor where it takes part, else the first's.
  const auto dtype_in = [&out](const RecipeSource& source, const SourceModel& model) {
    return model.dtype(source_tensor(out, source, model));
  };
  if (slice.base) {
    return dtype_in(*slice.base, plan.bases[slice.base->model]);
  }
  const RecipeSource* chosen = &slice.sources.front();
  for (const RecipeSource& source : slice.sources) {
    if (&plan.models[source.model] == &plan.leader()) {
      chosen = &source;
    }
  }
  return dtype_in(*chosen, plan.models[chosen->model]);
}

void remap_ids(Json& value, const std::map<std::int64_t, std::int64_t>& new_ids) {
  if (value.is_array()) {
    for (Json& item : value) {
      remap_ids(item, new_ids);
    }
  } else if (value.is_number_integer()) {
    const auto it = new_ids.find(value.get<std::int64_t>());
    if (it != new_ids.end()) {
      value = it->second;
    }
  }
}

}  // namespace

ModelConfig output_config(const MergePlan& plan) {
  const Recipe& recipe = plan.recipe;
  ModelConfig out = plan.leader().config();
  for (const auto* list : {&plan.models, &plan.bases}) {
    for (const SourceModel& model : *list) {
      check_same_architecture(plan, model);
      if (!model.config().tie_word_embeddings) {
        out.tie_word_embeddings = false;
      }
    }
  }
  if (has_slices(recipe)) {
    stack_layers(plan, out);
  }
  if (plan.vocabulary) {
    const std::map<std::int64_t, std::int64_t>& ids = plan.vocabulary->new_ids;
    const auto moved = [&ids](std::int64_t id) {
      const auto it = ids.find(id);
      return it == ids.end() ? id : it->second;
    };
    out.vocab_size = plan.vocabulary->num_rows;
    out.source_json = with_new_token_ids(out.source_json, ids);
    if (out.bos_token_id) {
      out.bos_token_id = moved(*out.bos_token_id);
    }
    std::transform(out.eos_token_ids.begin(), out.eos_token_ids.end(), out.eos_token_ids.begin(),
                   moved);
  }
  out.validate();
  return out;
}

std::vector<OutputTensor> output_tensors(const MergePlan& plan) {
  const std::vector<RecipeSlice>& slices = plan.recipe.slices;
  // Of each output layer: its slice, and its place there.
  std::vector<std::pair<std::size_t, std::int64_t>> layers;
  for (std::size_t s = 0; s < slices.size(); ++s) {
    const std::int64_t n = slices[s].num_layers.value_or(plan.config.num_layers);
    for (std::int64_t i = 0; i < n; ++i) {
      layers.emplace_back(s, i);
    }
  }
  std::vector<OutputTensor> out;
  for (const TensorSpec& spec : model_tensors(plan.config)) {
    OutputTensor tensor;
    tensor.spec = spec;
    if (spec.place.layer) {
      std::tie(tensor.slice, tensor.layer) = layers[static_cast<std::size_t>(*spec.place.layer)];
      tensor.depth = layer_depth(tensor.layer,
                                 slices[tensor.slice].num_layers.value_or(plan.config.num_layers));
    } else {
      // What stands before the layers is the first slice's, what stands behind them the last's.
      tensor.slice = spec.place.row->block == Block::kEmbedding ? 0 : slices.size() - 1;
    }
    const bool is_given = plan.recipe.out_dtype || plan.recipe.dtype;
    tensor.dtype = is_given ? plan.out_dtype : own_dtype(plan, tensor);
    out.push_back(std::move(tensor));
  }
  return out;
}

std::string with_new_token_ids(const std::string& json_text,
                               const std::map<std::int64_t, std::int64_t>& new_ids) {
  Json json = Json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return json_text;
  }
  for (auto& [key, value] : json.items()) {
    if (key.ends_with("_token_id")) {
      remap_ids(value, new_ids);
    }
  }
  return json.dump(2) + "\n";
}

}  // namespace growmerge::merging
