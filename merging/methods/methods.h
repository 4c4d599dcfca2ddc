// The table of merge methods.
#pragma once

#include <span>
#include <string>

#include "merging/method.h"

namespace growmerge::merging {

[[nodiscard]] std::span<const Method> methods();
/// Errors: kInvalidArgument naming `where`, the methods there are and the nearest one.
[[nodiscard]] const Method& find_method(const std::string& name, const std::string& where);

}  // namespace growmerge::merging
