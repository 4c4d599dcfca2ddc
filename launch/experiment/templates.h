// Variables and repetition in experiment files (docs/experiment.md, "Templates").
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "core/base/yaml.h"

namespace growmerge::launch {

/// What `${...}` may name. `vars` is a map node; `bindings` are for_each variables, which go first.
struct Scope {
  const YamlNode* vars = nullptr;
  std::map<std::string, YamlNode> bindings;
  /// The directory of a stage; told every name that is asked for.
  std::function<std::string(const std::string& stage, const YamlNode& where)> stage_dir;
};

/// The node with every `${...}` replaced and every `for_each` expanded. Errors: kInvalidArgument
/// with file:line for an unknown variable (naming the nearest), a cycle of variables, an unclosed
/// `${`, a table where a word is needed, and two entries of one name.
[[nodiscard]] YamlNode expand(const YamlNode& node, const Scope& scope);

/// One scope per combination of a `for_each` node (a map of lists, or a list of such maps).
[[nodiscard]] std::vector<Scope> for_each_scopes(const YamlNode& for_each, const Scope& scope);

/// The text with its variables replaced. Errors: as expand().
[[nodiscard]] std::string substitute(const std::string& text, const YamlNode& where,
                                     const Scope& scope);

/// `over` laid over `under`, key by key; anything but two maps is replaced.
[[nodiscard]] YamlNode merge_nodes(const YamlNode& under, const YamlNode& over);

/// A node as YAML text that parses to the same node.
[[nodiscard]] std::string node_to_yaml(const YamlNode& node);

}  // namespace growmerge::launch
