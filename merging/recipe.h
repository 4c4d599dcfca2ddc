// A merge recipe: mergekit's YAML, for the methods of merging/methods/.
//
//   merge_method: ties
//   base_model: runs/base                # methods that need one
//   models:
//     - model: runs/sv
//       parameters: {weight: 0.5, density: [0.2, 0.8]}
//       statistics: runs/sv-stats        # methods that need Fisher: what `growmerge stats` wrote
//   parameters: {normalize: true, lambda: 1.0}
//   dtype: float32                       # output dtype where out_dtype is absent
//   out_dtype: bfloat16
// Values are of merging/parameter_value.h. A model's own value goes before the top level's, then
// comes the method's default. What mergekit has and this does not (slices, modules, tokenizer
// sections, chat_template) is refused by name; an unknown key is refused with the nearest one.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/yaml.h"
#include "merging/method.h"
#include "merging/parameter_value.h"

namespace growmerge::merging {

struct RecipeModel {
  std::filesystem::path path;
  std::filesystem::path statistics;  // empty unless the method needs them
  std::map<std::string, ParameterValue> parameters;
};

struct Recipe {
  const Method* method = nullptr;
  std::filesystem::path base;       // empty where the method has none
  std::vector<RecipeModel> models;  // base apart, in file order
  std::map<std::string, ParameterValue> parameters;
  std::optional<std::string> dtype;
  std::optional<std::string> out_dtype;
  std::uint64_t random_seed = 0;
  std::string text;  // the whole recipe as YAML, overrides applied

  /// A model's parameter at a tensor. Errors: kInvalidArgument where none is given and the method
  /// needs one.
  [[nodiscard]] double model_parameter(std::size_t model, const std::string& key,
                                       std::optional<double> otherwise, const std::string& tensor,
                                       double depth) const;
  /// A parameter of an output tensor, likewise.
  [[nodiscard]] double parameter(const std::string& key, std::optional<double> otherwise,
                                 const std::string& tensor, double depth) const;
};

/// Relative paths are taken from the current directory, or, where nothing is there, from the
/// recipe's own. Errors: kInvalidArgument with file:line, kUnsupported naming the key.
[[nodiscard]] Recipe parse_recipe(const YamlNode& root);
[[nodiscard]] Recipe load_recipe(const std::filesystem::path& path,
                                 std::span<const std::string> overrides);

}  // namespace growmerge::merging
