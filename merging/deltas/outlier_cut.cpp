#include "merging/deltas/outlier_cut.h"

#include <algorithm>
#include <cstring>

#include "merging/common_parameters.h"

namespace growmerge::merging {
OutlierCuts outlier_cuts(const TensorTask& task) {
  const std::int64_t n = task.num_elements;
  const std::size_t size = task.inputs.size();
  std::vector<const TileSource*> models;
  std::vector<std::int64_t> counts;
  const auto share = [n](double part) {
    return static_cast<std::int64_t>(part * static_cast<double>(n));
  };
  for (const bool is_dropped : {false, true}) {
    for (const TensorTask::Input& input : task.inputs) {
      const double density = input.arguments.number(kDensity);
      const std::int64_t target = share(density);
      const std::int64_t bottom =
          std::max<std::int64_t>(0, n - target - share(input.arguments.number(kGamma)));
      models.push_back(&input.weights);
      counts.push_back(density >= 1.0 ? (is_dropped ? 0 : n)
                       : is_dropped   ? n - bottom - target
                                      : n - bottom);
    }
  }
  // Both cuts of all models in one go over the tensors.
  std::vector<MagnitudeCut> cuts = select_largest(n, task.base, models, counts);
  const auto half = cuts.begin() + static_cast<std::ptrdiff_t>(size);
  return {.kept = {cuts.begin(), half}, .dropped = {half, cuts.end()}};
}

void OutlierCut::cut_and_add(const float* x, const float* base, float weight, std::int64_t count,
                             float* delta, float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float difference = x[i] - base[i];
    std::uint32_t bits = 0;
    std::memcpy(&bits, &difference, sizeof(bits));
    bits &= 0x7fffffffU;
    const bool is_in = survives(kept_, bits);
    const bool is_out = survives(dropped_, bits);
    delta[i] = is_in && !is_out ? difference * weight : 0.0F;
    sum[i] += delta[i];
  }
}

}  // namespace growmerge::merging
