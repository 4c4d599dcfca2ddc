// The keys that maps of a recipe have: what is unknown is told from what mergekit has and this does
// not.
#pragma once

#include <string>
#include <vector>

#include "core/base/yaml.h"

namespace growmerge::merging {

/// Errors: kInvalidArgument naming the key, the nearest of `known` (or `hint` in its place) and all
/// of them; kUnsupported for a key of mergekit.
[[noreturn]] void refuse_key(const YamlNode& value, const std::string& key,
                             const std::vector<std::string>& known, std::string hint = "");

/// Errors: those of refuse_key() for the first key that is not `known`; kInvalidArgument where this
/// is no map.
void check_keys(const YamlNode& map, const std::vector<std::string>& known);

/// The value of a key; null where it is not there, or is nothing.
[[nodiscard]] const YamlNode* find_value(const YamlNode& map, const std::string& key);

}  // namespace growmerge::merging
