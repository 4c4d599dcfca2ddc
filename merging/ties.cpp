#include <algorithm>

#include "merging/magnitude_select.h"
#include "merging/method.h"
#include "merging/simd.h"

namespace growmerge::merging {
namespace {

GM_SIMD void scale_and_add(float scale, std::int64_t count, float* x, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    x[i] *= scale;
    sum[i] += x[i];
  }
}

/// Adds x and its weight where x has the elected sign: that of `elected`, 0 counting as +. Zero has
/// no sign and never agrees.
GM_SIMD void add_agreeing(const float* x, const float* elected, float weight, std::int64_t count,
                          float* sum, float* divisor) {
  for (std::int64_t i = 0; i < count; ++i) {
    const bool agrees = elected[i] >= 0.0F ? x[i] > 0.0F : x[i] < 0.0F;
    sum[i] += agrees ? x[i] : 0.0F;
    divisor[i] += agrees ? weight : 0.0F;
  }
}

GM_SIMD void finish(const float* base, const float* divisor, bool normalize, float lambda,
                    std::int64_t count, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float by = normalize && divisor[i] != 0.0F ? divisor[i] : 1.0F;
    sum[i] = base[i] + lambda * (sum[i] / by);
  }
}

}  // namespace

void ties_merge(const TensorTask& task) {
  std::vector<const TileSource*> models;
  std::vector<double> densities;
  for (const TensorTask::Input& input : task.inputs) {
    models.push_back(&input.weights);
    densities.push_back(input.density);
  }
  const auto cuts = select_magnitudes(task.num_elements, task.base, models, densities);
  const std::size_t num_models = models.size();
  for_each_tile(task.num_elements, [&](std::int64_t tile, std::int64_t offset, std::int64_t count) {
    float* base = tile_scratch(4 + num_models);
    float* elected = base + kTileElements;
    float* sum = elected + kTileElements;
    float* divisor = sum + kTileElements;
    float* deltas = divisor + kTileElements;
    std::fill_n(elected, 3 * kTileElements, 0.0F);
    task.base.load(offset, count, base);
    for (std::size_t m = 0; m < num_models; ++m) {
      float* delta = deltas + static_cast<std::int64_t>(m) * kTileElements;
      models[m]->load(offset, count, delta);
      subtract_tile(delta, base, count, delta);
      apply_cut(cuts[m], tile, count, delta);
      scale_and_add(static_cast<float>(task.inputs[m].weight), count, delta, elected);
    }
    for (std::size_t m = 0; m < num_models; ++m) {
      add_agreeing(deltas + static_cast<std::int64_t>(m) * kTileElements, elected,
                   static_cast<float>(task.inputs[m].weight), count, sum, divisor);
    }
    finish(base, divisor, task.normalize, static_cast<float>(task.lambda), count, sum);
    task.out.write(offset, count, sum);
  });
}

}  // namespace growmerge::merging
