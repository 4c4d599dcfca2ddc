#include "merging/deltas/magnitude_bracket.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>

#include "core/base/random.h"
#include "core/base/simd.h"
#include "merging/deltas/magnitude_tiles.h"

namespace growmerge::merging {
namespace {

constexpr std::uint32_t kMagnitude = 0x7fffffffU;
constexpr std::int64_t kLine = 32;  // neighbours sampled together: a cache line of bfloat16
constexpr double kSigmas = 4.5;

/// The k-th largest is in [low, high], the sample says.
struct Bracket {
  std::uint32_t low = 0;
  std::uint32_t high = kMagnitude;
};

struct Counts {
  std::int64_t above = 0;
  std::int64_t at_high = 0;
  std::int64_t between = 0;
  std::int64_t at_low = 0;  // 0 where low is high
};

/// What a run of tiles found for one model.
struct Chunk {
  std::int64_t first_tile = 0;
  std::vector<Counts> tiles;
  std::vector<std::uint32_t> between;  // in order of index
};

GM_SIMD Counts count_magnitudes(const std::uint32_t* bits, std::int64_t count, std::uint32_t low,
                                std::uint32_t high) {
  std::int32_t above = 0;
  std::int32_t at_high = 0;
  std::int32_t at_low = 0;
  std::int32_t below = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    above += bits[i] > high ? 1 : 0;
    at_high += bits[i] == high ? 1 : 0;
    at_low += bits[i] == low ? 1 : 0;
    below += bits[i] < low ? 1 : 0;
  }
  const std::int32_t twice = low == high ? at_low : 0;
  return {above, at_high, count - above - at_high - at_low - below + twice, at_low - twice};
}

void keep_between(const std::uint32_t* bits, std::int64_t count, Bracket bracket,
                  std::int64_t found, std::vector<std::uint32_t>& out) {
  const std::size_t before = out.size();
  out.resize(before + static_cast<std::size_t>(found) + 1);  // the last slot takes what is outside
  std::uint32_t* to = out.data() + before;
  const std::uint32_t first = bracket.low + 1U;
  const std::uint32_t width = bracket.high - first;
  for (std::int64_t i = 0; i < count; ++i) {  // one unsigned comparison, hence no branch
    *to = bits[i];
    to += bits[i] - first < width ? 1 : 0;
  }
  out.pop_back();
}

/// The value of rank `rank` (0 is the largest) of `values`, which are reordered.
std::uint32_t ranked(std::vector<std::uint32_t>& values, std::int64_t rank) {
  std::nth_element(values.begin(), values.begin() + rank, values.end(), std::greater<>());
  return values[static_cast<std::size_t>(rank)];
}

/// Lines of the tensor, one drawn from each of equal stretches of it: the same for every model.
std::vector<std::int64_t> sampled_lines(std::int64_t n) {
  const std::int64_t all = n / kLine;
  const std::int64_t drawn = std::min(all, std::clamp<std::int64_t>(n / 8192, 512, 65536));
  const Philox random(0, stream_id("merging/magnitude_bracket"));
  std::vector<std::int64_t> out(static_cast<std::size_t>(drawn));
  for (std::int64_t i = 0; i < drawn; ++i) {
    const std::int64_t begin = i * all / drawn;
    const std::int64_t end = (i + 1) * all / drawn;
    out[static_cast<std::size_t>(i)] =
        begin + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(i),
                                                       static_cast<std::uint64_t>(end - begin)));
  }
  return out;
}

/// Ends that enclose the k-th of n but for the sample's chance. Neighbours resemble each other, so
/// the standard error is that of the lines' shares of large magnitudes.
Bracket bracket_of(const std::vector<std::uint32_t>& sample, double share) {
  const auto count = static_cast<std::int64_t>(sample.size());
  const auto last = static_cast<double>(count - 1);
  const auto rank = [last](double x) {
    return static_cast<std::int64_t>(std::clamp(x, 0.0, last));
  };
  std::vector<std::uint32_t> values = sample;
  const std::uint32_t middle = ranked(values, rank(share * static_cast<double>(count)));
  const std::int64_t lines = count / kLine;
  double sum = 0.0;
  double squares = 0.0;
  for (std::int64_t line = 0; line < lines; ++line) {
    const auto begin = sample.begin() + line * kLine;
    const auto large = static_cast<double>(
        std::count_if(begin, begin + kLine, [middle](std::uint32_t x) { return x >= middle; }));
    sum += large;
    squares += large * large;
  }
  const double mean = sum / static_cast<double>(lines);
  const double variance = std::max(0.0, squares / static_cast<double>(lines) - mean * mean);
  const double margin = kSigmas * std::sqrt(variance * static_cast<double>(lines)) + 1.0;
  const double middle_rank = share * static_cast<double>(count);
  Bracket out;
  out.high = middle_rank - margin < 0.0 ? kMagnitude : ranked(values, rank(middle_rank - margin));
  out.low = middle_rank + margin > last ? 0 : ranked(values, rank(middle_rank + margin));
  return out;
}

std::vector<Bracket> sample_brackets(std::int64_t n, const TileSource& base,
                                     std::span<const TileSource* const> models,
                                     std::span<const std::int64_t> k,
                                     const std::vector<std::size_t>& wanted) {
  const std::vector<std::int64_t> lines = sampled_lines(n);
  const auto size = static_cast<std::int64_t>(lines.size()) * kLine;
  std::vector<float> base_values(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    base.load(lines[i] * kLine, kLine, base_values.data() + i * kLine);
  }
  std::vector<Bracket> out(models.size());
  at::parallel_for(
      0, static_cast<std::int64_t>(wanted.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::uint32_t> sample(static_cast<std::size_t>(size));
        float values[kLine];
        for (std::int64_t w = begin; w < end; ++w) {
          const std::size_t m = wanted[static_cast<std::size_t>(w)];
          for (std::size_t i = 0; i < lines.size(); ++i) {
            models[m]->load(lines[i] * kLine, kLine, values);
            magnitude_bits(values, base_values.data() + i * kLine, kLine,
                           sample.data() + i * kLine);
          }
          out[m] = bracket_of(sample, static_cast<double>(k[m]) / static_cast<double>(n));
        }
      });
  return out;
}

/// One pass: what lies where, tile by tile. A model that exceeds `max_between` keeps counts alone.
std::vector<std::vector<Chunk>> scan(std::int64_t n, const TileSource& base,
                                     std::span<const TileSource* const> models,
                                     const std::vector<std::size_t>& wanted,
                                     const std::vector<Bracket>& brackets) {
  std::vector<std::vector<Chunk>> out(models.size());
  std::mutex mutex;
  at::parallel_for(0, num_tiles(n), 1, [&](std::int64_t begin, std::int64_t end) {
    const auto limit =
        static_cast<std::size_t>(kMaxBetween * static_cast<double>((end - begin) * kTileElements));
    std::vector<Chunk> own(models.size());
    for_each_magnitude_tile(
        n, base, models, wanted, begin, end,
        [&](std::size_t m, std::int64_t, const std::uint32_t* bits, std::int64_t count) {
          const Counts counts = count_magnitudes(bits, count, brackets[m].low, brackets[m].high);
          own[m].tiles.push_back(counts);
          if (counts.between > 0 && own[m].between.size() <= limit) {
            keep_between(bits, count, brackets[m], counts.between, own[m].between);
          }
        });
    const std::lock_guard lock(mutex);
    for (const std::size_t m : wanted) {
      own[m].first_tile = begin;
      out[m].push_back(std::move(own[m]));
    }
  });
  for (std::vector<Chunk>& chunks : out) {
    std::sort(chunks.begin(), chunks.end(),
              [](const Chunk& a, const Chunk& b) { return a.first_tile < b.first_tile; });
  }
  return out;
}

/// The cut from the counts; false where the k-th is not between the ends, or its neighbours were
/// too many to keep.
bool cut_from(const std::vector<Chunk>& chunks, Bracket bracket, std::int64_t k,
              MagnitudeCut& cut) {
  Counts total;
  std::vector<std::uint32_t> between;
  for (const Chunk& chunk : chunks) {
    for (const Counts& tile : chunk.tiles) {
      total.above += tile.above;
      total.at_high += tile.at_high;
      total.between += tile.between;
      total.at_low += tile.at_low;
    }
    between.insert(between.end(), chunk.between.begin(), chunk.between.end());
  }
  std::int64_t left = k - total.above;
  std::int64_t Counts::*place = &Counts::at_high;
  if (left <= 0) {
    return false;
  }
  if (left <= total.at_high) {
    cut.threshold = bracket.high;
  } else if (left -= total.at_high; left <= total.between) {
    if (static_cast<std::int64_t>(between.size()) != total.between) {
      return false;
    }
    cut.threshold = ranked(between, left - 1);
    left -= std::count_if(between.begin(), between.begin() + left,
                          [&cut](std::uint32_t x) { return x > cut.threshold; });
    place = &Counts::between;
  } else if (left -= total.between; left <= total.at_low) {
    cut.threshold = bracket.low;
    place = &Counts::at_low;
  } else {
    return false;
  }
  cut.ties_kept = left;
  cut.ties_before = {0};
  for (const Chunk& chunk : chunks) {
    const std::uint32_t* next = chunk.between.data();
    for (const Counts& tile : chunk.tiles) {
      std::int64_t ties = tile.*place;
      if (place == &Counts::between) {
        ties = std::count(next, next + tile.between, cut.threshold);
        next += tile.between;
      }
      cut.ties_before.push_back(cut.ties_before.back() + ties);
    }
  }
  return true;
}

}  // namespace

std::vector<std::size_t> cut_by_brackets(std::int64_t n, const TileSource& base,
                                         std::span<const TileSource* const> models,
                                         std::span<const std::int64_t> k,
                                         std::vector<std::size_t> wanted,
                                         std::span<MagnitudeCut> cuts) {
  if (n < 2 * kLine) {
    return wanted;
  }
  const std::vector<Bracket> brackets = sample_brackets(n, base, models, k, wanted);
  const auto chunks = scan(n, base, models, wanted, brackets);
  std::vector<char> found(models.size(), 0);
  at::parallel_for(0, static_cast<std::int64_t>(wanted.size()), 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t w = begin; w < end; ++w) {
                       const std::size_t m = wanted[static_cast<std::size_t>(w)];
                       found[m] = cut_from(chunks[m], brackets[m], k[m], cuts[m]) ? 1 : 0;
                     }
                   });
  std::erase_if(wanted, [&found](std::size_t m) { return found[m] != 0; });
  return wanted;
}

}  // namespace growmerge::merging
