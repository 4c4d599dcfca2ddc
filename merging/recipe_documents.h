// Several recipes in one file: mergekit's multi-merge. Documents are separated by `---`; each may
// have a `name`, by which others take its result as a model.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/base/yaml.h"

namespace growmerge::merging {

struct RecipeDocument {
  std::string name;  // empty: the result
  YamlNode recipe;
  std::vector<std::size_t> needs;  // places of others, which stand before it
};

/// Each behind those that it needs; last the one that goes to --out: without a name, or the only
/// one that no other needs. Errors: kInvalidArgument with file:line for a name given twice, two
/// documents without one, and recipes that need each other; kUnsupported where several results are
/// needed by nobody.
[[nodiscard]] std::vector<RecipeDocument> order_recipes(const std::vector<YamlNode>& documents);

/// The recipe with the models that are names of documents in `dir`.
[[nodiscard]] YamlNode with_parts(const YamlNode& recipe,
                                  const std::vector<RecipeDocument>& documents,
                                  const std::string& dir);

}  // namespace growmerge::merging
