#include "distributed/sharding/units.h"

#include "core/base/error.h"
#include "core/model/tensor_table.h"

namespace growmerge::distributed {

std::size_t unit_of(const std::string& name, std::int64_t num_layers) {
  const TensorPlace place = tensor_place(name);
  if (place.layer) {
    GM_ASSERT(*place.layer < num_layers);
    return static_cast<std::size_t>(*place.layer) + 1;
  }
  // The final norm goes with the head, which follows at once, tied or not.
  return place.row->block == Block::kEmbedding ? 0 : static_cast<std::size_t>(num_layers) + 1;
}

}  // namespace growmerge::distributed
