#include "merging/method.h"

#include "core/config.h"
#include "core/error.h"

namespace growmerge::merging {
namespace {

constexpr Method kMethods[] = {
    {.name = "linear",
     .doc = "weighted average of the models",
     .base = BaseUse::kNone,
     .needs_statistics = false,
     .has_density = false,
     .has_lambda = false,
     .weight_required = true,
     .has_normalize = true,
     .normalize_default = true,
     .is_random = false,
     .function = &linear_merge},
    {.name = "task_arithmetic",
     .doc = "base + lambda * weighted sum of the models' differences from it",
     .base = BaseUse::kRequired,
     .needs_statistics = false,
     .has_density = false,
     .has_lambda = true,
     .weight_required = true,
     .has_normalize = true,
     .normalize_default = false,
     .is_random = false,
     .function = &task_arithmetic_merge},
    {.name = "ties",
     .doc = "the differences trimmed by magnitude, one sign elected per entry, averaged",
     .base = BaseUse::kRequired,
     .needs_statistics = false,
     .has_density = true,
     .has_lambda = true,
     .weight_required = true,
     .has_normalize = true,
     .normalize_default = true,
     .is_random = false,
     .function = &ties_merge},
    {.name = "dare_ties",
     .doc =
         "the differences thinned out at random and rescaled, one sign elected per entry, summed",
     .base = BaseUse::kRequired,
     .needs_statistics = false,
     .has_density = true,
     .has_lambda = true,
     .weight_required = true,
     .has_normalize = true,
     .normalize_default = false,
     .is_random = true,
     .function = &dare_ties_merge},
    {.name = "fisher",
     .doc = "average weighted, entry by entry, by the diagonal Fisher information of each model",
     .base = BaseUse::kNone,
     .needs_statistics = true,
     .has_density = false,
     .has_lambda = false,
     .weight_required = false,
     .has_normalize = false,
     .normalize_default = true,
     .is_random = false,
     .function = &fisher_merge}};

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
