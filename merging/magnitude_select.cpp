#include "merging/magnitude_select.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/error.h"
#include "merging/simd.h"

namespace growmerge::merging {
namespace {

constexpr int kLowBits = 15;
constexpr std::size_t kHighBins = std::size_t{1} << 16;
constexpr std::size_t kLowBins = std::size_t{1} << kLowBits;
constexpr std::uint32_t kMagnitude = 0x7fffffffU;

using Histogram = std::vector<std::uint64_t>;

GM_SIMD void difference_bits(const float* a, const float* b, std::int64_t count,
                             std::uint32_t* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float delta = a[i] - b[i];
    std::uint32_t bits = 0;
    std::memcpy(&bits, &delta, sizeof(bits));
    out[i] = bits & kMagnitude;
  }
}

GM_SIMD std::int64_t count_equal(const std::uint32_t* bits, std::int64_t count,
                                 std::uint32_t wanted) {
  std::int32_t total = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    total += bits[i] == wanted ? 1 : 0;
  }
  return total;
}

GM_SIMD void keep_at_least(std::uint32_t threshold, std::int64_t count, float* delta) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, delta + i, sizeof(bits));
    bits = (bits & kMagnitude) >= threshold ? bits : 0U;
    std::memcpy(delta + i, &bits, sizeof(bits));
  }
}

GM_SIMD bool any_in_bin(const std::uint32_t* bits, std::int64_t count, std::uint32_t bin) {
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    found |= (bits[i] >> kLowBits) == bin ? 1U : 0U;
  }
  return found != 0;
}

/// Runs visit(model, tile, bits, count, private histogram) over all tiles of the selected models
/// and returns the histograms, summed over threads.
template <class Visit>
std::vector<Histogram> scan(std::int64_t n, const TileSource& base,
                            std::span<const TileSource* const> models,
                            std::span<const std::size_t> selected, std::size_t bins,
                            const Visit& visit) {
  std::vector<Histogram> total(models.size());
  for (const std::size_t m : selected) {
    total[m].assign(bins, 0);
  }
  std::mutex mutex;
  const std::int64_t tiles = (n + kTileElements - 1) / kTileElements;
  at::parallel_for(0, tiles, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::vector<std::uint32_t>> own(models.size());
    for (const std::size_t m : selected) {
      own[m].assign(bins, 0);
    }
    float* base_tile = tile_scratch(3);
    float* model_tile = base_tile + kTileElements;
    auto* bits = reinterpret_cast<std::uint32_t*>(base_tile + 2 * kTileElements);
    for (std::int64_t tile = begin; tile < end; ++tile) {
      const std::int64_t offset = tile * kTileElements;
      const std::int64_t count = std::min(kTileElements, n - offset);
      base.load(offset, count, base_tile);
      for (const std::size_t m : selected) {
        models[m]->load(offset, count, model_tile);
        difference_bits(model_tile, base_tile, count, bits);
        visit(m, tile, bits, count, own[m].data());
      }
    }
    const std::lock_guard lock(mutex);
    for (const std::size_t m : selected) {
      for (std::size_t bin = 0; bin < bins; ++bin) {
        total[m][bin] += own[m][bin];
      }
    }
  });
  return total;
}

/// The bin that holds the k-th entry from the top, and how many of the k lie in it.
std::pair<std::uint32_t, std::int64_t> bin_of_kth(const Histogram& histogram, std::int64_t k) {
  for (std::size_t bin = histogram.size(); bin-- > 0;) {
    const auto inside = static_cast<std::int64_t>(histogram[bin]);
    if (k <= inside) {
      return {static_cast<std::uint32_t>(bin), k};
    }
    k -= inside;
  }
  fail(ErrorCode::kInternal, "magnitude selection lost ", k, " entries");
}

}  // namespace

std::vector<MagnitudeCut> select_magnitudes(std::int64_t n, const TileSource& base,
                                            std::span<const TileSource* const> models,
                                            std::span<const double> densities) {
  std::vector<MagnitudeCut> cuts(models.size());
  std::vector<std::size_t> selected;
  for (std::size_t m = 0; m < models.size(); ++m) {
    cuts[m].keep_all = densities[m] >= 1.0 || n == 0;
    cuts[m].keep_none = !cuts[m].keep_all && densities[m] <= 0.0;
    if (!cuts[m].keep_all && !cuts[m].keep_none) {
      selected.push_back(m);
    }
  }
  if (selected.empty()) {
    return cuts;
  }
  const auto high = scan(n, base, models, selected, kHighBins,
                         [](std::size_t, std::int64_t, const std::uint32_t* bits,
                            std::int64_t count, std::uint32_t* histogram) {
                           for (std::int64_t i = 0; i < count; ++i) {
                             ++histogram[bits[i] >> kLowBits];
                           }
                         });
  std::vector<std::uint32_t> bins(models.size(), 0);
  std::vector<std::int64_t> wanted(models.size(), 0);
  for (const std::size_t m : selected) {
    const auto k =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(densities[m] * static_cast<double>(n)));
    std::tie(bins[m], wanted[m]) = bin_of_kth(high[m], k);
    GM_CHECK(bins[m] < (0x7f800000U >> kLowBits), kCorrupt, models[m]->label,
             " differs from the base by more than float32 holds");
  }
  const auto low = scan(n, base, models, selected, kLowBins,
                        [&bins](std::size_t m, std::int64_t, const std::uint32_t* bits,
                                std::int64_t count, std::uint32_t* histogram) {
                          if (!any_in_bin(bits, count, bins[m])) {
                            return;
                          }
                          for (std::int64_t i = 0; i < count; ++i) {
                            if ((bits[i] >> kLowBits) == bins[m]) {
                              ++histogram[bits[i] & (kLowBins - 1)];
                            }
                          }
                        });
  std::vector<std::size_t> split;  // models of which only some ties survive
  for (const std::size_t m : selected) {
    MagnitudeCut& cut = cuts[m];
    const auto [bin, kept] = bin_of_kth(low[m], wanted[m]);
    cut.threshold = (bins[m] << kLowBits) | bin;
    cut.ties_kept = kept;
    cut.ties = static_cast<std::int64_t>(low[m][bin]);
    // A difference of zero adds nothing, kept or not.
    if (cut.ties_kept < cut.ties && cut.threshold != 0) {
      split.push_back(m);
      cut.ties_before.assign(static_cast<std::size_t>((n + kTileElements - 1) / kTileElements), 0);
    }
  }
  if (!split.empty()) {
    (void)scan(n, base, models, split, 1,
               [&cuts](std::size_t m, std::int64_t tile, const std::uint32_t* bits,
                       std::int64_t count, std::uint32_t*) {
                 cuts[m].ties_before[static_cast<std::size_t>(tile)] =
                     count_equal(bits, count, cuts[m].threshold);
               });
    for (const std::size_t m : split) {
      std::int64_t before = 0;
      for (std::int64_t& entry : cuts[m].ties_before) {
        before += std::exchange(entry, before);
      }
    }
  }
  return cuts;
}

void apply_cut(const MagnitudeCut& cut, std::int64_t tile, std::int64_t count, float* delta) {
  if (cut.keep_all) {
    return;
  }
  if (cut.keep_none) {
    std::fill_n(delta, count, 0.0F);
    return;
  }
  keep_at_least(cut.threshold, count, delta);
  if (cut.ties_before.empty()) {
    return;
  }
  std::int64_t seen = cut.ties_before[static_cast<std::size_t>(tile)];
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, delta + i, sizeof(bits));
    if ((bits & kMagnitude) == cut.threshold && seen++ >= cut.ties_kept) {
      delta[i] = 0.0F;
    }
  }
}

GM_SIMD void subtract_tile(const float* a, const float* b, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = a[i] - b[i];
  }
}

}  // namespace growmerge::merging
