#include "data/interleave.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>
#include <tuple>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

/// Rounds normalised shares to whole parts of `period` by largest remainder.
std::vector<std::int64_t> round_to_parts(std::span<const double> shares, std::int64_t period) {
  std::vector<std::int64_t> parts(shares.size());
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::int64_t given = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    parts[i] = static_cast<std::int64_t>(shares[i] * static_cast<double>(period));
    given += parts[i];
  }
  const auto remainder = [&](std::size_t i) {
    return shares[i] * static_cast<double>(period) - static_cast<double>(parts[i]);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainder(a) > remainder(b); });
  for (std::size_t i = 0; given < period; ++i, ++given) {
    ++parts[order[i % order.size()]];
  }
  return parts;
}

bool fits(std::span<const double> shares, std::int64_t period) {
  return std::all_of(shares.begin(), shares.end(), [&](double share) {
    const double part = share * static_cast<double>(period);
    return std::abs(part - std::round(part)) < 1e-9 * static_cast<double>(period);
  });
}

}  // namespace

Interleave Interleave::from_shares(std::span<const double> shares) {
  double sum = 0.0;
  for (const double share : shares) {
    GM_CHECK(std::isfinite(share) && share >= 0.0, kInvalidArgument,
             "a mixture's share must be a finite number of at least 0, got ", share);
    sum += share;
  }
  GM_CHECK(sum > 0.0, kInvalidArgument, "a mixture needs a share above 0");
  std::vector<double> normalised(shares.begin(), shares.end());
  for (double& share : normalised) {
    share /= sum;
  }
  // A short period is exact for the round shares that people write (0.7 and 0.3: 10), and cheap.
  for (std::int64_t period = 1; period <= 4096; ++period) {
    if (fits(normalised, period)) {
      return Interleave(round_to_parts(normalised, period));
    }
  }
  return Interleave(round_to_parts(normalised, kLargestPeriod));
}

Interleave::Interleave(std::span<const std::int64_t> parts) : parts_(parts.begin(), parts.end()) {
  std::int64_t period = 0;
  for (const std::int64_t part : parts_) {
    GM_CHECK(part >= 0 && part <= kLargestPeriod, kInvalidArgument,
             "a mixture's part must be between 0 and ", kLargestPeriod, ", got ", part);
    period += part;
  }
  GM_CHECK(period > 0 && period <= kLargestPeriod, kInvalidArgument,
           "a mixture's parts must sum to between 1 and ", kLargestPeriod, ", got ", period);
  slots_.resize(static_cast<std::size_t>(period));

  using Entry = std::tuple<std::int64_t, std::int32_t, std::int64_t>;      // (key, source, index)
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> future;   // by release
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> waiting;  // by deadline
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i] > 0) {
      future.emplace(0, static_cast<std::int32_t>(i), 0);
    }
  }
  for (std::int64_t slot = 0; slot < period; ++slot) {
    while (!future.empty() && std::get<0>(future.top()) <= slot) {
      const auto [release, source, index] = future.top();
      future.pop();
      const std::int64_t part = parts_[static_cast<std::size_t>(source)];
      // The deadline, ceil((j + 1) D / m), of row j that is released at floor(j D / m).
      waiting.emplace(((index + 1) * period + part - 1) / part, source, index);
    }
    GM_ASSERT(!waiting.empty());  // the windows of all rows fill every slot
    const auto [deadline, source, index] = waiting.top();
    GM_ASSERT(slot < deadline);
    waiting.pop();
    slots_[static_cast<std::size_t>(slot)] = {source, static_cast<std::int32_t>(index)};
    const std::int64_t part = parts_[static_cast<std::size_t>(source)];
    if (index + 1 < part) {
      future.emplace((index + 1) * period / part, source, index + 1);
    }
  }
}

Interleave::Place Interleave::at(std::int64_t row) const {
  GM_ASSERT(row >= 0);
  const Slot& slot = slots_[static_cast<std::size_t>(row % period())];
  const std::int64_t part = parts_[static_cast<std::size_t>(slot.source)];
  return {slot.source, row / period() * part + slot.index};
}

std::int64_t Interleave::count(std::int32_t source, std::int64_t rows) const {
  const std::int64_t part = parts_[static_cast<std::size_t>(source)];
  std::int64_t partial = 0;
  // Whole periods are exact; only the begun one is counted.
  for (std::int64_t slot = 0; slot < rows % period(); ++slot) {
    partial += slots_[static_cast<std::size_t>(slot)].source == source ? 1 : 0;
  }
  return rows / period() * part + partial;
}

}  // namespace growmerge::data
