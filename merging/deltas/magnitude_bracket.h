// The k-th largest magnitude from one pass over the tensor: a sample says between which two
// magnitudes it lies almost surely, and the pass counts what is above, at either end and between,
// and keeps what is between. Exact: where the k-th turns out to lie outside, or the sample cannot
// tell (a short tensor, a scattered one), the answer is "unknown", and histograms find it
// (magnitude_select.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "merging/deltas/magnitude_select.h"

namespace growmerge::merging {

/// Fills cuts[m] for the models of `wanted` whose k-th magnitude was found; returns the others.
/// Memory: 4 bytes for each magnitude between the ends, 1 or 2 % of n for each model as a rule and
/// kMaxBetween of n at most. Threads change nothing.
[[nodiscard]] std::vector<std::size_t> cut_by_brackets(std::int64_t n, const TileSource& base,
                                                       std::span<const TileSource* const> models,
                                                       std::span<const std::int64_t> k,
                                                       std::vector<std::size_t> wanted,
                                                       std::span<MagnitudeCut> cuts);

inline constexpr double kMaxBetween = 0.125;

}  // namespace growmerge::merging
