// The `parameters` maps of a recipe, checked against what its method takes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/yaml.h"
#include "merging/method.h"
#include "merging/parameter_value.h"

namespace growmerge::merging {

using ParameterMap = std::map<std::string, ParameterValue>;

/// Where a map stands: among a model's (or a slice's source's) own, or above several models.
enum class ParameterPlace { kModel, kShared };

/// The map's values by name; empty where `node` is null. What mergekit has and the method leaves
/// unread is taken, and added to `notes` once for each key. Errors: kInvalidArgument with file:line
/// for a value that is not of the grammar, type or range, and for a key that the method does not
/// take there, saying where it belongs.
[[nodiscard]] ParameterMap parse_parameters(const YamlNode* node, const Method& method,
                                            ParameterPlace place, std::vector<std::string>& notes);

}  // namespace growmerge::merging
