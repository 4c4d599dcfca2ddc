// Which models changed an entry: what RAM goes by.
#pragma once

#include <cstdint>
#include <vector>

#include "merging/tensor_task.h"

namespace growmerge::merging {

/// A tile of the base and of the models' differences from it, those of at most `epsilon` set to
/// zero, and how many are left in each entry.
struct ActiveTile {
  std::vector<float> base;                // [count]
  std::vector<std::vector<float>> delta;  // [models][count]
  std::vector<std::int32_t> active;       // [count]
};
void load_active(const TensorTask& task, float epsilon, std::int64_t offset, std::int64_t count,
                 ActiveTile& tile);

}  // namespace growmerge::merging
