#include "merging/recipe_slices.h"

#include <algorithm>

#include "core/base/error.h"
#include "merging/recipe_keys.h"

namespace growmerge::merging {
namespace {

/// The place of a model in the list, which it joins where it is new.
template <class Model>
std::size_t place_in(std::vector<Model>& list, const Model& model) {
  const auto is_same = [&model](const Model& other) {
    if constexpr (std::is_same_v<Model, RecipeModel>) {
      if (other.statistics != model.statistics) {
        return false;
      }
    }
    return same_model(other, model);
  };
  const auto it = std::find_if(list.begin(), list.end(), is_same);
  if (it != list.end()) {
    return static_cast<std::size_t>(it - list.begin());
  }
  list.push_back(model);
  return list.size() - 1;
}

/// One entry of `models` or `sources`, not yet told from the base.
struct Entry {
  RecipeModel model;
  RecipeSource source;
  std::optional<std::int64_t> num_layers;  // of its layer_range
};

void take_layer_range(const YamlNode& node, Entry& entry) {
  const YamlNode* range = find_value(node, "layer_range");
  GM_CHECK(range != nullptr, kInvalidArgument, node.where(),
           ": key 'layer_range' is missing: [first layer, the one behind the last]");
  GM_CHECK(range->is_sequence() && range->items.size() == 2, kInvalidArgument, range->where(),
           ": 'layer_range' must be [first layer, the one behind the last]");
  const std::int64_t first = range->items[0].as_int();
  const std::int64_t end = range->items[1].as_int();
  GM_CHECK(first >= 0 && end > first, kInvalidArgument, range->where(), ": layer_range [", first,
           ", ", end, "] holds no layer: the second number is the one behind the last");
  entry.source.first_layer = first;
  entry.num_layers = end - first;
}

Entry parse_entry(const YamlNode& node, Recipe& recipe, bool is_slice) {
  const Method& method = *recipe.method;
  std::vector<std::string> known = {"model", "parameters"};
  if (is_slice) {
    known.emplace_back("layer_range");
  }
  if (method.needs.fisher) {
    known.emplace_back("statistics");
  }
  check_keys(node, known);
  const YamlNode* model = node.find("model");
  GM_CHECK(model != nullptr, kInvalidArgument, node.where(), ": key 'model' is missing");
  Entry out;
  static_cast<ModelReference&>(out.model) = parse_model_reference(*model);
  out.source.where = node.where();
  out.source.parameters =
      parse_parameters(node.find("parameters"), method, ParameterPlace::kModel, recipe.notes);
  if (is_slice) {
    take_layer_range(node, out);
  }
  if (method.needs.fisher) {
    const YamlNode* statistics = find_value(node, "statistics");
    GM_CHECK(statistics != nullptr, kInvalidArgument, node.where(), ": method ", method.name,
             " needs 'statistics' for each model: the directory that "
             "`growmerge stats` wrote");
    out.model.statistics = resolve_directory(*statistics);
  }
  return out;
}

/// Whether each parameter that a model must have is given for all models.
bool has_shared_values(const Recipe& recipe, const RecipeSlice& slice) {
  return std::all_of(
      recipe.method->parameters.begin(), recipe.method->parameters.end(), [&](const Parameter& p) {
        return p.is_idle || p.scope != Parameter::Scope::kModel || p.fallback ||
               slice.parameters.contains(p.name) || recipe.module_parameters.contains(p.name) ||
               recipe.parameters.contains(p.name);
      });
}

/// A base that is not listed. mergekit adds it to `models`, and refuses it in slices.
void add_unlisted_base(const YamlNode& base, const ModelReference& model, bool is_slice,
                       Recipe& recipe, RecipeSlice& slice) {
  const Method& method = *recipe.method;
  if (method.needs.base != BaseUse::kNone) {
    GM_CHECK(!is_slice, kInvalidArgument, slice.where, ": base_model '", model.text(),
             "' is not among the sources of this slice: list it with its layer_range, so that it "
             "is known which of its layers belong to the others'");
    slice.base = RecipeSource{.model = place_in(recipe.bases, model), .where = base.where()};
    return;
  }
  if (is_slice) {
    (void)place_in(recipe.bases, model);  // it gives config and tokenizer alone
    return;
  }
  GM_CHECK(has_shared_values(recipe, slice), kInvalidArgument, base.where(), ": method ",
           method.name, " has no base: list '", base.is_scalar() ? base.scalar : model.text(),
           "' under models with a weight, or remove base_model");
  recipe.notes.push_back(concat("base_model '", model.text(), "' is not listed under models: ",
                                method.name, " takes it as one more model, as mergekit does"));
  RecipeModel added;
  static_cast<ModelReference&>(added) = model;
  slice.sources.push_back({.model = place_in(recipe.models, added), .where = base.where()});
}

/// Sorts the entries into base and sources.
void take_entries(const std::vector<Entry>& entries, const YamlNode* base, bool is_slice,
                  Recipe& recipe, RecipeSlice& slice) {
  const bool has_role = base != nullptr && recipe.method->needs.base != BaseUse::kNone;
  std::optional<ModelReference> model;
  if (base != nullptr) {
    model = parse_model_reference(*base);
  }
  bool is_listed = false;
  for (const Entry& entry : entries) {
    const bool is_base = model && same_model(entry.model, *model);
    is_listed = is_listed || is_base;
    RecipeSource source = entry.source;
    if (is_base && has_role) {
      source.model = place_in(recipe.bases, *model);
      slice.base = std::move(source);
    } else {
      source.model = place_in(recipe.models, entry.model);
      slice.sources.push_back(std::move(source));
    }
  }
  if (model && !is_listed) {
    add_unlisted_base(*base, *model, is_slice, recipe, slice);
  }
}

void require_base(const Recipe& recipe, const YamlNode* base, const std::string& where) {
  GM_CHECK(base != nullptr || recipe.method->needs.base != BaseUse::kRequired, kInvalidArgument,
           where, ": method ", recipe.method->name,
           " needs 'base_model': the checkpoint that the models continued "
           "from");
}

void check_number(const Recipe& recipe, const RecipeSlice& slice) {
  const Needs& needs = recipe.method->needs;
  const std::size_t count = slice.sources.size();
  if (count == 0) {
    return;  // refused where the whole recipe is known
  }
  const bool is_right =
      count >= needs.min_models && (needs.max_models == 0 || count <= needs.max_models);
  GM_CHECK(is_right, kInvalidArgument, slice.where, ": method ", recipe.method->name, " takes ",
           needs.max_models == needs.min_models ? "" : "at least ", needs.min_models, " model",
           needs.min_models == 1 ? "" : "s", needs.base == BaseUse::kNone ? "" : " beside the base",
           ", got ", count);
}

void take_models(const YamlNode& models, const YamlNode& root, Recipe& recipe) {
  GM_CHECK(models.is_sequence() && !models.items.empty(), kInvalidArgument, models.where(),
           ": 'models' must be a list of {model, parameters}");
  std::vector<Entry> entries;
  for (const YamlNode& item : models.items) {
    entries.push_back(parse_entry(item, recipe, false));
  }
  const YamlNode* base = find_value(root, "base_model");
  require_base(recipe, base, root.where());
  RecipeSlice slice;
  slice.where = models.where();
  take_entries(entries, base, false, recipe, slice);
  check_number(recipe, slice);
  recipe.slices.push_back(std::move(slice));
}

RecipeSlice parse_slice(const YamlNode& node, const YamlNode& root, Recipe& recipe) {
  check_keys(node, {"sources", "base_model", "parameters", "residual_weight"});
  if (find_value(node, "residual_weight") != nullptr) {
    recipe.notes.emplace_back(
        "'residual_weight' changes nothing: mergekit does not read it either");
  }
  RecipeSlice out;
  out.where = node.where();
  out.parameters = parse_parameters(node.find("parameters"), *recipe.method,
                                    ParameterPlace::kShared, recipe.notes);
  const YamlNode* sources = node.find("sources");
  GM_CHECK(sources != nullptr && sources->is_sequence() && !sources->items.empty(),
           kInvalidArgument, node.where(),
           ": 'sources' must be a list of {model, layer_range, parameters}");
  std::vector<Entry> entries;
  for (const YamlNode& item : sources->items) {
    entries.push_back(parse_entry(item, recipe, true));
    GM_CHECK(entries.back().num_layers == entries.front().num_layers, kInvalidArgument,
             item.where(), ": layer_range has ", *entries.back().num_layers,
             " layers, that of the slice's first source ", *entries.front().num_layers,
             ": all sources of a slice must have the same number");
  }
  out.num_layers = entries.front().num_layers;
  const YamlNode* base = find_value(node, "base_model");
  base = base != nullptr ? base : find_value(root, "base_model");
  require_base(recipe, base, node.where());
  take_entries(entries, base, true, recipe, out);
  check_number(recipe, out);
  return out;
}

/// The map that has `models` or `slices`: the recipe, or its one module.
const YamlNode& module_of(const YamlNode& root, Recipe& recipe) {
  const YamlNode* modules = find_value(root, "modules");
  if (modules == nullptr) {
    return root;
  }
  GM_CHECK(modules->is_map() && modules->entries.size() == 1, kUnsupported, modules->where(),
           ": 'modules' with ", modules->is_map() ? modules->entries.size() : 0,
           " entries is not supported: models here have one module, so expected one entry");
  const YamlNode& module = modules->entries.front().second;
  check_keys(module, {"models", "slices", "parameters"});
  recipe.module_parameters = parse_parameters(module.find("parameters"), *recipe.method,
                                              ParameterPlace::kShared, recipe.notes);
  return module;
}

void check_one_kind(const YamlNode& root) {
  const char* first = nullptr;
  for (const char* key : {"models", "slices", "modules"}) {
    const YamlNode* node = find_value(root, key);
    if (node == nullptr) {
      continue;
    }
    GM_CHECK(first == nullptr, kUnsupported, node->where(), ": '", key, "' beside '",
             first == nullptr ? "" : first,
             "' is not supported: a recipe has one of models, slices and modules");
    first = key;
  }
}

}  // namespace

void take_slices(const YamlNode& root, Recipe& recipe) {
  check_one_kind(root);
  if (const YamlNode* base = find_value(root, "base_model")) {
    recipe.leader = parse_model_reference(*base);
  }
  const YamlNode& module = module_of(root, recipe);
  check_one_kind(module);
  if (const YamlNode* slices = find_value(module, "slices")) {
    GM_CHECK(slices->is_sequence() && !slices->items.empty(), kInvalidArgument, slices->where(),
             ": 'slices' must be a list of {sources, parameters}");
    for (const YamlNode& item : slices->items) {
      recipe.slices.push_back(parse_slice(item, root, recipe));
    }
  } else {
    const YamlNode* models = find_value(module, "models");
    GM_CHECK(models != nullptr, kInvalidArgument, module.where(),
             ": 'models' must be a list of {model, parameters}");
    take_models(*models, root, recipe);
  }
  for (const RecipeSlice& slice : recipe.slices) {
    GM_CHECK(!slice.sources.empty(), kInvalidArgument, slice.where,
             ": no model is left beside the base");
  }
  if (recipe.slices.front().base) {
    recipe.base = recipe.bases.front().path;
  }
}

}  // namespace growmerge::merging
