#include <algorithm>
#include <cstring>

#include "merging/magnitude_select.h"
#include "merging/method.h"
#include "merging/simd.h"

namespace growmerge::merging {
namespace {

constexpr std::int64_t kBlock = 1024;  // elements whose rows of all models stay in the L1 cache
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

/// Adds x and its weight where x has the elected sign: that of `elected`, 0 counting as +. Zero has
/// no sign and never agrees. On the bits, because comparing floats may trap and is then no vector
/// code.
GM_SIMD void add_agreeing(const float* x, const float* elected, float weight, std::int64_t count,
                          float* sum, float* divisor) {
  constexpr std::uint32_t kMinusZero = 0x80000000U;
  std::uint32_t weight_bits = 0;
  std::memcpy(&weight_bits, &weight, sizeof(weight_bits));
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::uint32_t sign = 0;
    std::memcpy(&bits, x + i, sizeof(bits));
    std::memcpy(&sign, elected + i, sizeof(sign));
    const std::uint32_t plus = bits - 1U < kMinusZero - 1U ? ~0U : 0U;
    const std::uint32_t minus = bits > kMinusZero ? ~0U : 0U;
    const std::uint32_t agrees = sign > kMinusZero ? minus : plus;
    const std::uint32_t value_bits = bits & agrees;
    const std::uint32_t by_bits = weight_bits & agrees;
    float value = 0.0F;
    float by = 0.0F;
    std::memcpy(&value, &value_bits, sizeof(value));
    std::memcpy(&by, &by_bits, sizeof(by));
    sum[i] += value;
    divisor[i] += by;
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
  const std::size_t rows =
      1 + ((num_models + 4) * kBlock + kTileElements - 1) / static_cast<std::size_t>(kTileElements);
  for_each_tile(task.num_elements, [&](std::int64_t tile, std::int64_t offset, std::int64_t size) {
    float* result = tile_scratch(rows);
    float* base = result + kTileElements;
    float* x = base + kBlock;
    float* elected = x + kBlock;
    float* divisor = elected + kBlock;
    float* deltas = divisor + kBlock;
    std::vector<TileCut> tile_cuts;
    for (const MagnitudeCut& cut : cuts) {
      tile_cuts.push_back(cut_of_tile(cut, tile));
    }
    for (std::int64_t begin = 0; begin < size; begin += kBlock) {
      const std::int64_t count = std::min(kBlock, size - begin);
      float* sum = result + begin;
      std::fill_n(elected, count, 0.0F);
      std::fill_n(divisor, count, 0.0F);
      std::fill_n(sum, count, 0.0F);
      task.base.load(offset + begin, count, base);
      for (std::size_t m = 0; m < num_models; ++m) {
        models[m]->load(offset + begin, count, x);
        if (tile_cuts[m].ties_left >= 0) {
          drop_late_ties(base, count, tile_cuts[m], x);
        }
        trim_and_add(x, base, tile_cuts[m].at_least, static_cast<float>(task.inputs[m].weight),
                     count, deltas + static_cast<std::int64_t>(m) * kBlock, elected);
      }
      for (std::size_t m = 0; m < num_models; ++m) {
        add_agreeing(deltas + static_cast<std::int64_t>(m) * kBlock, elected,
                     static_cast<float>(task.inputs[m].weight), count, sum, divisor);
      }
      finish(base, divisor, task.normalize, static_cast<float>(task.lambda), count, sum);
    }
    task.out.write(offset, size, result);
  });
}

}  // namespace growmerge::merging
