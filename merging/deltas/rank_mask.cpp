#include "merging/deltas/rank_mask.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "core/base/random.h"
#include "merging/common_parameters.h"
#include "merging/deltas/gram.h"

namespace growmerge::merging {
namespace {

constexpr double kSmallNorm = 1e-7;

/// Places of `keys` in ascending order, equal ones by index: passes of 8 bits, those in which all
/// keys are alike left out.
void sort_places(const std::vector<std::uint32_t>& keys, std::vector<std::uint32_t>& places,
                 std::vector<std::uint32_t>& spare) {
  constexpr std::size_t kBins = 256;
  constexpr std::size_t kPasses = 4;
  const std::size_t count = keys.size();
  const std::uint32_t* key = keys.data();
  std::array<std::array<std::uint32_t, kBins>, kPasses> counts{};
  for (std::size_t i = 0; i < count; ++i) {
    places[i] = static_cast<std::uint32_t>(i);
    for (std::size_t pass = 0; pass < kPasses; ++pass) {
      ++counts[pass][(key[i] >> (8 * pass)) & 255U];
    }
  }
  for (std::size_t pass = 0; pass < kPasses; ++pass) {
    std::array<std::uint32_t, kBins>& starts = counts[pass];
    const std::size_t shift = 8 * pass;
    if (count == 0 || starts[(key[0] >> shift) & 255U] == count) {
      continue;
    }
    std::uint32_t start = 0;
    for (std::uint32_t& bin : starts) {
      start += std::exchange(bin, start);
    }
    const std::uint32_t* from = places.data();
    std::uint32_t* to = spare.data();
    for (std::size_t i = 0; i < count; ++i) {
      to[starts[(key[from[i]] >> shift) & 255U]++] = from[i];
    }
    places.swap(spare);
  }
}

/// x = |x - base|, and its bits; their sum.
double to_magnitudes(const float* base, std::int64_t count, float* x, std::uint32_t* bits) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    x[i] = std::fabs(x[i] - base[i]);
    std::memcpy(bits + i, x + i, sizeof(float));
    sum += static_cast<double>(x[i]);
  }
  return sum;
}

/// Sets the bits of the places that survive, which stand in ascending order of magnitude: place
/// number r with the probability lowest + step r. The sum of their magnitudes. Every second branch
/// would be mispredicted, so there is none.
double draw(const std::uint32_t* places, const std::uint32_t* words, const float* magnitudes,
            std::int64_t count, double lowest, double step, std::uint64_t* bits) {
  double sum = 0.0;
  for (std::int64_t rank = 0; rank < count; ++rank) {
    const std::uint32_t place = places[rank];
    const auto threshold =
        static_cast<std::int64_t>((lowest + step * static_cast<double>(rank)) * 0x1p32);
    const std::uint64_t is_kept = static_cast<std::int64_t>(words[place]) < threshold ? 1 : 0;
    bits[place / 64] |= is_kept << (place % 64);
    sum += static_cast<double>(magnitudes[place]) * static_cast<double>(is_kept);
  }
  return sum;
}

/// delta = x - base where the bit of its place is set, else 0, for places [first, first + count).
void keep_run(const std::uint64_t* bits, std::int64_t first, std::int64_t count, const float* x,
              const float* base, float* delta) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = first + i;
    const std::uint64_t is_kept = (bits[place / 64] >> (place % 64)) & 1U;
    const float value = x[i] - base[i];
    std::uint32_t value_bits = 0;
    std::memcpy(&value_bits, &value, sizeof(value));
    value_bits &= 0U - static_cast<std::uint32_t>(is_kept);
    std::memcpy(delta + i, &value_bits, sizeof(value_bits));
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
  task.inputs[model].weights.load(row * length_, length_, s.x.data());
  task.base.load(row * length_, length_, s.base.data());
  sums[0] = to_magnitudes(s.base.data(), length_, s.x.data(), s.keys.data());
  sort_places(s.keys, s.places, s.spare);
  const auto blocks = static_cast<std::int64_t>(s.words.size() / 4);
  philox_fill(task.seed, streams_[model], static_cast<std::uint64_t>(row * blocks), blocks,
              s.words.data());
  const double step = length_ > 1 ? 2.0 * epsilons_[model] / static_cast<double>(length_ - 1) : 0.0;
  const double lowest = densities_[model] - (length_ > 1 ? epsilons_[model] : 0.0);
  sums[1] = draw(s.places.data(), s.words.data(), s.x.data(), length_, lowest, step,
                 bits_[model].data() + row * words_);
}

void RankMasks::keep(std::size_t model, std::int64_t offset, std::int64_t count, const float* x,
                     const float* base, float* delta) const {
  if (bits_[model].empty()) {
    for (std::int64_t i = 0; i < count; ++i) {
      delta[i] = densities_[model] >= 1.0 ? x[i] - base[i] : 0.0F;
    }
    return;
  }
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t row = (offset + done) / length_;
    const std::int64_t place = (offset + done) % length_;
    const std::int64_t run = std::min(count - done, length_ - place);
    keep_run(bits_[model].data() + row * words_, place, run, x + done, base + done, delta + done);
    done += run;
  }
}

}  // namespace growmerge::merging
