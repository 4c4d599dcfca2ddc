#include "merging/methods/passthrough.h"

namespace growmerge::merging {

void passthrough_merge(const TensorTask& task) {
  const float scale = task.of_models(kScale)[0];
  for_each_output_tile(task, [&](std::int64_t, std::int64_t offset, std::int64_t count) {
    float* out = tile_scratch(1);
    task.inputs[0].weights.load(offset, count, out);
    if (scale != 1.0F) {
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] *= scale;
      }
    }
    return out;
  });
}

}  // namespace growmerge::merging
