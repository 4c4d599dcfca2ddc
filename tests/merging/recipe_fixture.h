// Recipes from text, and their parameters as the first slice has them: all there is to a recipe of
// `models`.
#pragma once

#include <optional>
#include <string>

#include "merging/recipe.h"

namespace growmerge::merging {

inline Recipe parse(const std::string& text) {
  return parse_recipe(parse_yaml_text(text, "r.yaml"));
}

inline double model_parameter(const Recipe& recipe, std::size_t source, const std::string& key,
                              std::optional<double> otherwise, const std::string& tensor,
                              double depth) {
  const RecipeSlice& slice = recipe.slices.front();
  return recipe.source_parameter(slice, slice.sources[source], key, otherwise, tensor, depth);
}

inline double parameter(const Recipe& recipe, const std::string& key,
                        std::optional<double> otherwise, const std::string& tensor, double depth) {
  return recipe.slice_parameter(recipe.slices.front(), key, otherwise, tensor, depth);
}

}  // namespace growmerge::merging
