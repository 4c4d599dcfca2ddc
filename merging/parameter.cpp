#include "merging/parameter.h"

#include <cmath>

#include "core/base/error.h"

namespace growmerge::merging {

std::string range_text(const Parameter& parameter) {
  if (parameter.type == ParameterValue::Type::kFlag) {
    return parameter.max == 0.0 ? "false" : "true or false";
  }
  const bool has_min = std::isfinite(parameter.min);
  const bool has_max = std::isfinite(parameter.max);
  if (has_min && has_max) {
    return concat("a number in [", parameter.min, ", ", parameter.max, "]");
  }
  return concat("a number", has_min ? concat(" >= ", parameter.min) : "",
                has_max ? concat(" <= ", parameter.max) : "");
}

void Arguments::set(const Parameter& parameter, double value) {
  for (auto& [name, old] : values_) {
    if (name == parameter.name) {
      old = value;
      return;
    }
  }
  values_.emplace_back(parameter.name, value);
}

double Arguments::number(const Parameter& parameter) const {
  // A method has a handful: looking through them costs less than any map.
  for (const auto& [name, value] : values_) {
    if (name == parameter.name) {
      return value;
    }
  }
  fail(ErrorCode::kInternal, "merge parameter '", parameter.name,
       "' is read, but not in the method's row");
}

}  // namespace growmerge::merging
