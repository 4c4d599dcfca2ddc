#include "merging/methods/methods.h"

#include <vector>

#include "core/base/config.h"
#include "core/base/error.h"
#include "merging/methods/dare_ties.h"
#include "merging/methods/fisher.h"
#include "merging/methods/linear.h"
#include "merging/methods/task_arithmetic.h"
#include "merging/methods/ties.h"

namespace growmerge::merging {
namespace {

// In the order of help and docs.
constexpr Method kMethods[] = {kLinear, kTaskArithmetic, kTies, kDareTies, kFisher};

}  // namespace

std::span<const Method> methods() { return kMethods; }

const Method& find_method(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  std::string list;
  for (const Method& method : kMethods) {
    if (name == method.name) {
      return method;
    }
    names.emplace_back(method.name);
    list += std::string(list.empty() ? "" : ", ") + method.name;
  }
  const std::string nearest = nearest_name(name, names);
  fail(ErrorCode::kInvalidArgument, where, ": unknown merge_method '", name, "'",
       nearest.empty() ? "" : ", did you mean '" + nearest + "'?", " (there are: ", list, ")");
}

}  // namespace growmerge::merging
