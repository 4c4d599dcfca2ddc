#include "merging/methods/methods.h"

#include <vector>

#include "core/base/config.h"
#include "core/base/error.h"
#include "merging/methods/arcee_fusion.h"
#include "merging/methods/breadcrumbs.h"
#include "merging/methods/breadcrumbs_ties.h"
#include "merging/methods/dare_linear.h"
#include "merging/methods/dare_ties.h"
#include "merging/methods/della.h"
#include "merging/methods/della_linear.h"
#include "merging/methods/fisher.h"
#include "merging/methods/karcher.h"
#include "merging/methods/linear.h"
#include "merging/methods/model_stock.h"
#include "merging/methods/multislerp.h"
#include "merging/methods/nearswap.h"
#include "merging/methods/nuslerp.h"
#include "merging/methods/passthrough.h"
#include "merging/methods/ram.h"
#include "merging/methods/ramplus_tl.h"
#include "merging/methods/sce.h"
#include "merging/methods/slerp.h"
#include "merging/methods/task_arithmetic.h"
#include "merging/methods/ties.h"

namespace growmerge::merging {
namespace {

// In the order of help and docs.
constexpr Method kMethods[] = {
    kLinear, kSlerp,      kNuslerp,   kMultislerp,  kKarcher,         kModelStock,  kTaskArithmetic,
    kTies,   kDareLinear, kDareTies,  kBreadcrumbs, kBreadcrumbsTies, kDella,       kDellaLinear,
    kSce,    kRam,        kRamPlusTl, kNearswap,    kArceeFusion,     kPassthrough, kFisher};

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
