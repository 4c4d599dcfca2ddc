// What a merge method can be told, as data: recipes are checked, --help and docs printed, and tasks
// filled from these rows alone.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "merging/parameter_value.h"

namespace growmerge::merging {

struct Parameter {
  enum class Scope {
    kModel,   // of one model at one tensor: among that model's parameters, or at the top level
    kTensor,  // of one output tensor: at the top level (a "global" parameter of mergekit)
  };

  const char* name;  // mergekit's
  Scope scope;
  ParameterValue::Type type;
  std::optional<double> fallback;  // flags as 0 or 1; none: required
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  /// An option of mergekit that changes nothing here: taken with a value in [min, max], which asks
  /// for what is done anyway, and unknown with any other.
  bool is_idle = false;
  const char* doc;
};

/// "a number in [0, 1]", "a number >= 0", "true or false", "false".
[[nodiscard]] std::string range_text(const Parameter& parameter);

/// The numbers that a method's parameters have at one tensor (of one model).
class Arguments {
 public:
  void set(const Parameter& parameter, double value);
  /// By name. Errors: kInternal where it was not set: the method reads what its row does not list.
  [[nodiscard]] double number(const Parameter& parameter) const;
  [[nodiscard]] bool flag(const Parameter& parameter) const { return number(parameter) != 0.0; }

 private:
  std::vector<std::pair<std::string_view, double>> values_;
};

}  // namespace growmerge::merging
