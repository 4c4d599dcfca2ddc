#include "merging/methods/ties.h"

#include <cstring>
#include <vector>

#include "core/base/simd.h"
#include "merging/deltas/magnitude_select.h"
#include "merging/deltas/sign_election.h"

namespace growmerge::merging {
namespace {

constexpr std::uint32_t kMagnitude = 0x7fffffffU;

std::uint32_t magnitude_of(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits & kMagnitude;
}

/// delta = weight (x - base) where that difference survives, else 0; elected += delta.
GM_SIMD void trim_and_add(const float* x, const float* base, std::uint32_t at_least, float weight,
                          std::int64_t count, float* delta, float* elected) {
  for (std::int64_t i = 0; i < count; ++i) {
    float value = x[i] - base[i];
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    bits = (bits & kMagnitude) >= at_least ? bits : 0U;
    std::memcpy(&value, &bits, sizeof(bits));
    delta[i] = value * weight;
    elected[i] += delta[i];
  }
}

/// Makes those entries equal to the threshold that do not survive differences of 0.
void drop_late_ties(const float* base, std::int64_t count, TileCut& cut, float* x) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (magnitude_of(x[i] - base[i]) == cut.at_least && cut.ties_left-- <= 0) {
      cut.ties_left = 0;
      x[i] = base[i];
    }
  }
}

}  // namespace

void ties_merge(const TensorTask& task) {
  const std::vector<float> weights = task.of_models(kWeight);
  std::vector<const TileSource*> models;
  std::vector<double> densities;
  for (const TensorTask::Input& input : task.inputs) {
    models.push_back(&input.weights);
    densities.push_back(input.arguments.number(kDensity));
  }
  // First pass: where each model's magnitudes are cut. Second: what survives is elected and added.
  const auto cuts = select_magnitudes(task.num_elements, task.base, models, densities);
  merge_by_elected_sign(task, [&](std::int64_t tile) {
    std::vector<TileCut> tile_cuts;
    for (const MagnitudeCut& cut : cuts) {
      tile_cuts.push_back(cut_of_tile(cut, tile));
    }
    return [&weights, tile_cuts](std::size_t m, const Block& block) mutable {
      if (tile_cuts[m].ties_left >= 0) {
        drop_late_ties(block.base, block.count, tile_cuts[m], block.x);
      }
      trim_and_add(block.x, block.base, tile_cuts[m].at_least, weights[m], block.count, block.delta,
                   block.elected);
    };
  });
}

}  // namespace growmerge::merging
