#include "merging/deltas/magnitude_select.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>
#include <numeric>

#include "core/base/error.h"
#include "core/base/simd.h"
#include "merging/deltas/magnitude_bracket.h"
#include "merging/deltas/magnitude_tiles.h"

namespace growmerge::merging {
namespace {

// A magnitude has 31 bits: two histograms of 2^16 and 2^15 bins find one exactly, and fit L2.
constexpr int kLowBits = 15;
constexpr std::size_t kHighBins = std::size_t{1} << 16;
constexpr std::size_t kLowBins = std::size_t{1} << kLowBits;
constexpr std::uint32_t kMagnitude = 0x7fffffffU;

using Histogram = std::vector<std::uint64_t>;

GM_SIMD std::int64_t count_equal(const std::uint32_t* bits, std::int64_t count,
                                 std::uint32_t wanted) {
  std::int32_t total = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    total += bits[i] == wanted ? 1 : 0;
  }
  return total;
}

/// Most tiles hold nothing of the bin: they are passed over at the speed of reading.
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
  at::parallel_for(0, num_tiles(n), 1, [&](std::int64_t begin, std::int64_t end) {
    // Private, as shared counters would be fought over by the threads.
    std::vector<std::vector<std::uint32_t>> own(models.size());
    for (const std::size_t m : selected) {
      own[m].assign(bins, 0);
    }
    for_each_magnitude_tile(
        n, base, models, selected, begin, end,
        [&](std::size_t m, std::int64_t tile, const std::uint32_t* bits, std::int64_t count) {
          visit(m, tile, bits, count, own[m].data());
        });
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

/// Two histograms, and a third pass that counts ties.
void cut_by_histograms(std::int64_t n, const TileSource& base,
                       std::span<const TileSource* const> models, std::span<const std::int64_t> k,
                       const std::vector<std::size_t>& selected, std::span<MagnitudeCut> cuts) {
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
    std::tie(bins[m], wanted[m]) = bin_of_kth(high[m], k[m]);
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
  for (const std::size_t m : selected) {
    const auto [bin, kept] = bin_of_kth(low[m], wanted[m]);
    cuts[m].threshold = (bins[m] << kLowBits) | bin;
    cuts[m].ties_kept = kept;
    cuts[m].ties_before.assign(static_cast<std::size_t>(num_tiles(n)) + 1, 0);
  }
  (void)scan(n, base, models, selected, 1,
             [&cuts](std::size_t m, std::int64_t tile, const std::uint32_t* bits,
                     std::int64_t count, std::uint32_t*) {
               cuts[m].ties_before[static_cast<std::size_t>(tile) + 1] =
                   count_equal(bits, count, cuts[m].threshold);
             });
  for (const std::size_t m : selected) {
    std::partial_sum(cuts[m].ties_before.begin(), cuts[m].ties_before.end(),
                     cuts[m].ties_before.begin());
  }
}

}  // namespace

std::vector<MagnitudeCut> select_magnitudes(std::int64_t n, const TileSource& base,
                                            std::span<const TileSource* const> models,
                                            std::span<const double> densities) {
  std::vector<std::int64_t> counts;
  for (const double density : densities) {
    counts.push_back(density >= 1.0 ? n
                     : density <= 0.0
                         ? 0
                         : std::max<std::int64_t>(
                               1, static_cast<std::int64_t>(density * static_cast<double>(n))));
  }
  return select_largest(n, base, models, counts);
}

std::vector<MagnitudeCut> select_largest(std::int64_t n, const TileSource& base,
                                         std::span<const TileSource* const> models,
                                         std::span<const std::int64_t> counts) {
  std::vector<MagnitudeCut> cuts(models.size());
  const std::vector<std::int64_t> k(counts.begin(), counts.end());
  std::vector<std::size_t> selected;
  for (std::size_t m = 0; m < models.size(); ++m) {
    cuts[m].keep_all = k[m] >= n;
    cuts[m].keep_none = !cuts[m].keep_all && k[m] <= 0;
    if (!cuts[m].keep_all && !cuts[m].keep_none) {
      selected.push_back(m);
    }
  }
  if (selected.empty()) {
    return cuts;
  }
  const auto unknown = cut_by_brackets(n, base, models, k, selected, cuts);
  if (!unknown.empty()) {
    cut_by_histograms(n, base, models, k, unknown, cuts);
  }
  for (const std::size_t m : selected) {
    // Finite weights may differ by infinity.
    GM_CHECK(cuts[m].threshold < 0x7f800000U, kCorrupt, models[m]->label,
             " differs from the base by more than float32 holds");
  }
  return cuts;
}

TileCut cut_of_tile(const MagnitudeCut& cut, std::int64_t tile) {
  if (cut.keep_all) {
    return {.at_least = 0};
  }
  if (cut.keep_none) {
    return {.at_least = kMagnitude + 1U};
  }
  const std::int64_t before = cut.ties_before[static_cast<std::size_t>(tile)];
  const std::int64_t after = cut.ties_before[static_cast<std::size_t>(tile) + 1];
  // A difference of zero adds nothing, kept or not.
  if (after <= cut.ties_kept || cut.threshold == 0) {
    return {.at_least = cut.threshold};
  }
  if (before >= cut.ties_kept) {
    return {.at_least = cut.threshold + 1U};
  }
  return {.at_least = cut.threshold, .ties_left = cut.ties_kept - before};
}

}  // namespace growmerge::merging
