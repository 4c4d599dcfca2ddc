// Which unit of a parameter store (core/contracts/parameter_store.h) a tensor belongs to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace growmerge::distributed {

/// 0 for the embedding, 1 to L for the layers, L + 1 for final norm and head, of a model of L
/// layers.
[[nodiscard]] std::size_t unit_of(const std::string& name, std::int64_t num_layers);

}  // namespace growmerge::distributed
