#include "merging/deltas/random_mask.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/base/random.h"
#include "core/base/simd.h"
#include "merging/common_parameters.h"

namespace growmerge::merging {
namespace {

// A block of 1,024 elements takes 128 Philox blocks: element j the 16 bits of lane j / 128 (lanes 0
// and 1 are the halves of word 0, the lower first) of block j % 128.
constexpr std::int64_t kDraws = kBlockElements / 8;
constexpr double kSmallNorm = 1e-7;  // below, nothing is rescaled

/// x - base where it is kept, else 0, for a whole block (`count` of it are there).
GM_SIMD void keep_words(const float* x, const float* base, const std::uint32_t* words,
                        std::uint32_t threshold, std::int64_t count, float* delta) {
  for (std::int64_t lane = 0; lane < 8; ++lane) {
    const std::int64_t begin = lane * kDraws;
    const std::int64_t size = std::min(kDraws, count - begin);
    const std::uint32_t* word = words + lane / 2 * kDraws;
    const std::uint32_t shift = 16U * static_cast<std::uint32_t>(lane % 2);
    for (std::int64_t i = 0; i < size; ++i) {
      const float value = x[begin + i] - base[begin + i];
      std::uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof(bits));
      bits = ((word[i] >> shift) & 0xFFFFU) < threshold ? bits : 0U;
      std::memcpy(delta + begin + i, &bits, sizeof(bits));
    }
  }
}

/// L1 norms before and after the mask, added up in float64.
struct Norms {
  double all = 0.0;
  double kept = 0.0;
};

GM_SIMD Norms norms_of(const float* x, const float* base, const float* delta, std::int64_t count) {
  constexpr std::int64_t kLanes = 16;
  double all[kLanes] = {};
  double kept[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      all[lane] += static_cast<double>(std::fabs(x[i + lane] - base[i + lane]));
      kept[lane] += static_cast<double>(std::fabs(delta[i + lane]));
    }
  }
  for (; i < count; ++i) {
    all[0] += static_cast<double>(std::fabs(x[i] - base[i]));
    kept[0] += static_cast<double>(std::fabs(delta[i]));
  }
  Norms out;
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    out.all += all[lane];
    out.kept += kept[lane];
  }
  return out;
}

RandomMask random_mask(const TensorTask& task, std::size_t model) {
  const auto threshold = static_cast<std::uint32_t>(
      std::lround(task.inputs[model].arguments.number(kDensity) * RandomMask::kAlways));
  return {.seed = task.seed,
          .stream = stream_id("merging/dare/" + std::to_string(model) + "/" + task.name),
          .threshold = threshold};
}

}  // namespace

std::vector<RandomMask> random_masks(const TensorTask& task) {
  std::vector<RandomMask> out;
  for (std::size_t m = 0; m < task.inputs.size(); ++m) {
    out.push_back(random_mask(task, m));
  }
  return out;
}

void keep_drawn(const RandomMask& mask, std::int64_t offset, std::int64_t count, const float* x,
                const float* base, float* delta) {
  std::uint32_t words[4 * kDraws] = {};
  if (mask.threshold < RandomMask::kAlways) {
    philox_fill(mask.seed, mask.stream,
                static_cast<std::uint64_t>(offset / kBlockElements * kDraws), kDraws, words);
  }
  keep_words(x, base, words, mask.threshold, count, delta);
}

/// What restores each model's L1 norm after masking. One partial sum a tile, added in order.
std::vector<float> rescale_factors(const TensorTask& task, const std::vector<RandomMask>& masks) {
  const std::size_t num_models = masks.size();
  std::vector<std::vector<Norms>> partial(
      num_models, std::vector<Norms>(static_cast<std::size_t>(num_tiles(task.num_elements))));
  for_each_tile(task.num_elements, [&](std::int64_t tile, std::int64_t offset, std::int64_t size) {
    float* base = tile_scratch(1);
    float* x = base + kBlockElements;
    float* delta = x + kBlockElements;
    for (std::int64_t begin = 0; begin < size; begin += kBlockElements) {
      const std::int64_t count = std::min(kBlockElements, size - begin);
      task.base.load(offset + begin, count, base);
      for (std::size_t m = 0; m < num_models; ++m) {
        if (masks[m].threshold == RandomMask::kAlways) {
          continue;
        }
        task.inputs[m].weights.load(offset + begin, count, x);
        keep_drawn(masks[m], offset + begin, count, x, base, delta);
        const Norms norms = norms_of(x, base, delta, count);
        partial[m][static_cast<std::size_t>(tile)].all += norms.all;
        partial[m][static_cast<std::size_t>(tile)].kept += norms.kept;
      }
    }
  });
  std::vector<float> out;
  for (const std::vector<Norms>& tiles : partial) {
    Norms total;
    for (const Norms& norms : tiles) {
      total.all += norms.all;
      total.kept += norms.kept;
    }
    const bool is_small = total.all < kSmallNorm || total.kept < kSmallNorm;
    out.push_back(is_small ? 1.0F : static_cast<float>(total.all / total.kept));
  }
  return out;
}

GM_SIMD void rescale_and_add(float factor, float weight, std::int64_t count, float* delta,
                             float* sum) {
  for (std::int64_t i = 0; i < count; ++i) {
    delta[i] = delta[i] * factor * weight;
    sum[i] += delta[i];
  }
}

}  // namespace growmerge::merging
