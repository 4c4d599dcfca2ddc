#include "distributed/sharding/units.h"

#include <cstdlib>
#include <string_view>

#include "core/base/error.h"

namespace growmerge::distributed {

std::size_t unit_of(const std::string& name, std::int64_t num_layers) {
  constexpr std::string_view kLayers = "model.layers.";
  if (name.starts_with("model.embed_tokens.")) {
    return 0;
  }
  if (!name.starts_with(kLayers)) {
    // The final norm, and the head where it is not the embedding.
    return static_cast<std::size_t>(num_layers) + 1;
  }
  const long layer = std::strtol(name.c_str() + kLayers.size(), nullptr, 10);
  GM_ASSERT(layer >= 0 && layer < num_layers);
  return static_cast<std::size_t>(layer) + 1;
}

}  // namespace growmerge::distributed
