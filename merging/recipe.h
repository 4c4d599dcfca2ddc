// A merge recipe: mergekit's YAML, for the methods of merging/methods/.
//
//   merge_method: ties
//   base_model: runs/base                # methods that need one
//   models:
//     - model: runs/sv                   # or runs/sv+runs/adapter
//       parameters: {weight: 0.5, density: [0.2, 0.8]}
//       statistics: runs/sv-stats        # methods that need Fisher: what `growmerge stats` wrote
//   parameters: {normalize: true, lambda: 1.0}
//   dtype: float32                       # output dtype where out_dtype is absent
//   out_dtype: bfloat16
// In place of `models`, layers of them, stacked:
//   slices:
//     - sources: [{model: A, layer_range: [0, 12], parameters: {...}}, {model: B, ...}]
//       base_model: A                    # in place of the top level's
//       parameters: {...}
// or either of them inside `modules: {NAME: {...}}` of one entry. tokenizer_source, tokenizer:
// vocabulary/tokenizer_recipe.h. Values are of merging/parameter_value.h; the first place that has
// one counts: source, slice, module, top level, the method's default.
//
// Keys of ours: statistics, random_seed; strict (warnings about inputs are errors);
// allow_config_differences (keys of config.json in which models may differ, the output taking the
// base's); out_shard_size (bytes, or 5B).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/yaml.h"
#include "merging/method.h"
#include "merging/model_reference.h"
#include "merging/parameter_value.h"
#include "merging/recipe_parameters.h"
#include "merging/vocabulary/tokenizer_recipe.h"

namespace growmerge::merging {

struct RecipeModel : ModelReference {
  std::filesystem::path statistics;  // empty unless the method needs them
};

/// Layers of one model that go into a slice.
struct RecipeSource {
  std::size_t model = 0;  // its place in Recipe::models; of a slice's base, in Recipe::bases
  std::int64_t first_layer = 0;
  ParameterMap parameters{};
  std::string where{};  // file:line
};

/// Layers of the output that are made together: layer i of it from layer first_layer + i of each.
struct RecipeSlice {
  std::optional<RecipeSource> base;
  std::vector<RecipeSource> sources;       // base apart, in file order
  std::optional<std::int64_t> num_layers;  // empty: all that the models have
  ParameterMap parameters;
  std::string where;
};

struct Recipe {
  const Method* method = nullptr;
  std::vector<RecipeModel> models;       // each once, bases apart, in file order
  std::vector<ModelReference> bases;     // each once; of the top level first
  std::filesystem::path base;            // of bases.front(); empty where the method has none
  std::optional<ModelReference> leader;  // base_model as it stands there, whatever the method does
                                         // with it: config, tokenizer and template are its
  std::vector<RecipeSlice> slices;       // one of all layers where the recipe has `models`
  ParameterMap module_parameters;
  ParameterMap parameters;
  std::optional<std::string> dtype;
  std::optional<std::string> out_dtype;
  std::optional<TokenizerRecipe> tokenizer;
  std::optional<std::string> chat_template;
  std::uint64_t random_seed = 0;
  bool is_strict = false;
  std::vector<std::string> allowed_differences;  // keys of config.json
  std::optional<std::uint64_t> shard_bytes;
  std::vector<std::string> notes;  // what is taken and changes nothing, a line each
  std::string text;                // the whole recipe as YAML in one line, overrides applied
  std::string yaml;                // the same in several, for people

  /// A parameter of one source at a tensor of its own. Errors: kInvalidArgument where none is given
  /// and the method needs one.
  [[nodiscard]] double source_parameter(const RecipeSlice& slice, const RecipeSource& source,
                                        const std::string& key, std::optional<double> otherwise,
                                        const std::string& tensor, double depth) const;
  /// A parameter of an output tensor of a slice, likewise.
  [[nodiscard]] double slice_parameter(const RecipeSlice& slice, const std::string& key,
                                       std::optional<double> otherwise, const std::string& tensor,
                                       double depth) const;
};

/// Paths: see parse_model_reference(). Errors: kInvalidArgument with file:line, kUnsupported naming
/// the key or method.
[[nodiscard]] Recipe parse_recipe(const YamlNode& root);
[[nodiscard]] Recipe load_recipe(const std::filesystem::path& path,
                                 std::span<const std::string> overrides);

}  // namespace growmerge::merging
