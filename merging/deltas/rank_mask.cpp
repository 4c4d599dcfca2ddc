#include "merging/deltas/rank_mask.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "core/base/error.h"
#include "core/base/random.h"
#include "merging/common_parameters.h"
#include "merging/deltas/gram.h"

namespace growmerge::merging {
namespace {

constexpr double kSmallNorm = 1e-7;

/// Places of `keys` in ascending order, equal ones by index: three passes of 11 bits.
void sort_places(const std::vector<std::uint32_t>& keys, std::vector<std::uint32_t>& places,
                 std::vector<std::uint32_t>& spare) {
  constexpr std::uint32_t kBits = 11;
  constexpr std::uint32_t kBins = 1U << kBits;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    places[i] = static_cast<std::uint32_t>(i);
  }
  for (std::uint32_t shift = 0; shift < 32; shift += kBits) {
    std::array<std::uint32_t, kBins + 1> starts{};
    for (const std::uint32_t key : keys) {
      ++starts[((key >> shift) & (kBins - 1)) + 1];
    }
    for (std::size_t bin = 0; bin < kBins; ++bin) {
      starts[bin + 1] += starts[bin];
    }
    for (const std::uint32_t place : places) {
      spare[starts[(keys[place] >> shift) & (kBins - 1)]++] = place;
    }
    places.swap(spare);
  }
}

/// What a thread needs for a row.
struct RowScratch {
  std::vector<float> x, base;
  std::vector<std::uint32_t> keys, places, spare, words;

  explicit RowScratch(std::int64_t length) {
    const auto size = static_cast<std::size_t>(length);
    x.resize(size);
    base.resize(size);
    keys.resize(size);
    places.resize(size);
    spare.resize(size);
    words.resize((size + 3) / 4 * 4);
  }
};

}  // namespace

RankMasks::RankMasks(const TensorTask& task)
    : length_(row_length(task)), words_((length_ + 63) / 64), bits_(task.inputs.size()) {
  const std::int64_t rows = task.num_elements / length_;
  for (std::size_t m = 0; m < task.inputs.size(); ++m) {
    const double density = task.inputs[m].arguments.number(kDensity);
    const double epsilon = task.inputs[m].arguments.number(kEpsilon);
    densities_.push_back(density);
    epsilons_.push_back(epsilon);
    streams_.push_back(stream_id("merging/della/" + std::to_string(m) + "/" + task.name));
    factors_.push_back(1.0F);
    if (density <= 0.0 || density >= 1.0) {
      continue;
    }
    GM_CHECK(density - epsilon > 0.0 && density + epsilon < 1.0, kInvalidArgument,
             "merging tensor '", task.name, "': density ", density, " and epsilon ", epsilon,
             " of ", task.inputs[m].weights.label,
             ": density - epsilon and density + epsilon are probabilities and must lie between 0 "
             "and 1: lower epsilon");
    bits_[m].assign(static_cast<std::size_t>(rows * words_), 0);
    std::vector<double> sums(static_cast<std::size_t>(2 * rows), 0.0);
    for_each_in_parallel(rows,
                         [&](std::int64_t row) { make_row(task, m, row, sums.data() + 2 * row); });
    double all = 0.0;
    double kept = 0.0;
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
      all += sums[2 * row];
      kept += sums[2 * row + 1];
    }
    if (all >= kSmallNorm && kept >= kSmallNorm) {
      factors_[m] = static_cast<float>(all / kept);
    }
  }
}

void RankMasks::make_row(const TensorTask& task, std::size_t model, std::int64_t row,
                         double* sums) {
  thread_local RowScratch s(0);
  if (static_cast<std::int64_t>(s.x.size()) != length_) {
    s = RowScratch(length_);
  }
  for (std::int64_t at = 0; at < length_; at += kTileElements) {
    const std::int64_t count = std::min(kTileElements, length_ - at);
    task.inputs[model].weights.load(row * length_ + at, count, s.x.data() + at);
    task.base.load(row * length_ + at, count, s.base.data() + at);
  }
  const auto size = static_cast<std::size_t>(length_);
  for (std::size_t i = 0; i < size; ++i) {
    const float magnitude = std::fabs(s.x[i] - s.base[i]);
    std::memcpy(&s.keys[i], &magnitude, sizeof(magnitude));
    sums[0] += static_cast<double>(magnitude);
    s.x[i] = magnitude;
  }
  sort_places(s.keys, s.places, s.spare);
  const auto blocks = static_cast<std::int64_t>(s.words.size() / 4);
  philox_fill(task.seed, streams_[model], static_cast<std::uint64_t>(row * blocks), blocks,
              s.words.data());
  std::uint64_t* bits = bits_[model].data() + row * words_;
  const double lowest = densities_[model] - epsilons_[model];
  for (std::size_t rank = 0; rank < size; ++rank) {
    const double share = size > 1 ? static_cast<double>(rank) / static_cast<double>(size - 1) : 0.5;
    const double probability = lowest + 2.0 * epsilons_[model] * share;
    const std::size_t place = s.places[rank];
    if (static_cast<double>(s.words[place]) < probability * 0x1p32) {
      bits[place / 64] |= std::uint64_t{1} << (place % 64);
      sums[1] += static_cast<double>(s.x[place]);
    }
  }
}

void RankMasks::keep(std::size_t model, std::int64_t offset, std::int64_t count, const float* x,
                     const float* base, float* delta) const {
  if (bits_[model].empty()) {
    for (std::int64_t i = 0; i < count; ++i) {
      delta[i] = densities_[model] >= 1.0 ? x[i] - base[i] : 0.0F;
    }
    return;
  }
  std::int64_t row = offset / length_;
  std::int64_t place = offset % length_;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t word = bits_[model][static_cast<std::size_t>(row * words_ + place / 64)];
    delta[i] = ((word >> (place % 64)) & 1U) != 0 ? x[i] - base[i] : 0.0F;
    if (++place == length_) {
      place = 0;
      ++row;
    }
  }
}

}  // namespace growmerge::merging
