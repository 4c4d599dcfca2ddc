// One value of a merge recipe, which may differ by layer and by tensor name (mergekit's grammar):
//   scalar                    0.5, true; also what PyYAML and mergekit take for one: "1e-5" in
//                             quotes, true for 1, 1 for true, Yes, OFF
//   gradient                  [0.0, 0.5, 1.0]: piecewise linear over the depth; booleans take the
//                             nearest entry below
//   conditional list          [{filter: self_attn, value: SCALAR | GRADIENT}, ...]: the first entry
//                             whose filter is a substring of the tensor's name (or "*" or absent)
// Depth: layer l of L stands at l / (L - 1) (a single layer at 1); embedding, last norm and head
// stand at 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/yaml.h"

namespace growmerge::merging {

class ParameterValue {
 public:
  enum class Type { kNumber, kFlag };

  /// Errors: kInvalidArgument with file:line for anything that is not of the grammar or type.
  [[nodiscard]] static ParameterValue parse(const YamlNode& node, Type type,
                                            const std::string& key);
  /// The value at a tensor (flags as 0 or 1), or nothing where no filter matches.
  [[nodiscard]] std::optional<double> at(const std::string& tensor, double depth) const;
  /// Every number that can come out lies between the lowest and the highest of these.
  [[nodiscard]] const std::vector<double>& values() const { return values_; }
  /// "recipe.yaml:3:5", for error messages.
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  struct Branch {
    std::string filter;  // empty matches every tensor
    std::vector<double> gradient;
  };
  Type type_ = Type::kNumber;
  std::vector<Branch> branches_;
  std::vector<double> values_;
  std::string where_;
};

/// Where layer `layer` of a run of num_layers layers stands, in [0, 1].
[[nodiscard]] double layer_depth(std::int64_t layer, std::int64_t num_layers);
/// Where a tensor stands in the depth of a model of num_layers layers, in [0, 1].
[[nodiscard]] double tensor_depth(const std::string& tensor, std::int64_t num_layers);

}  // namespace growmerge::merging
