// The header of a safetensors file: 8 bytes of length, little-endian, and that many bytes of JSON,
// which names each tensor's dtype, shape and place among the data behind it.
//
// Files come from anywhere, so everything that the format promises is checked before a byte of data
// is believed: names and keys once each, sizes that fit, data covered without overlap or hole.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/store/safetensors.h"

namespace growmerge {

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in order of their data; offsets count from the file's start
  std::map<std::string, std::string> metadata;
};

/// `file` is the whole file, 8 bytes or more. Errors: kCorrupt and kUnsupported (a dtype), naming
/// the tensor.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file);

}  // namespace growmerge
