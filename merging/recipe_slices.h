// What is merged with what: `models`, `slices` and `modules` of a recipe.
#pragma once

#include "core/base/yaml.h"
#include "merging/recipe.h"

namespace growmerge::merging {

/// Fills models, bases, leader, slices and module_parameters of a recipe whose method and
/// parameters are there. Errors: those of parse_recipe().
void take_slices(const YamlNode& root, Recipe& recipe);

}  // namespace growmerge::merging
