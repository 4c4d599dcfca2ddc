#include "eval/statistics.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>
#include <set>

#include "core/base/error.h"
#include "core/base/random.h"

namespace growmerge::eval {
namespace {

/// Random indices of one resample: 32-bit draws, four from each Philox block.
class Indices {
 public:
  Indices(std::uint64_t seed, std::uint64_t stream, std::uint64_t resample)
      : seed_(seed), stream_(stream), resample_(resample) {}

  std::size_t below(std::size_t bound) {
    if (used_ == words_.size()) {
      refill();
    }
    return static_cast<std::size_t>((static_cast<std::uint64_t>(words_[used_++]) * bound) >> 32);
  }

 private:
  static constexpr std::int64_t kBlocks = 64;

  /// Counters {block, stream, resample}: Philox's position and stream in other words.
  void refill() {
    std::array<std::uint32_t, 4 * kBlocks> by_word;
    philox_fill(seed_, resample_, (stream_ << 32) | next_, kBlocks, by_word.data());
    for (std::size_t i = 0; i < kBlocks; ++i) {
      for (std::size_t word = 0; word < 4; ++word) {
        words_[4 * i + word] = by_word[word * kBlocks + i];
      }
    }
    next_ += kBlocks;
    used_ = 0;
  }

  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t resample_;
  std::uint32_t next_ = 0;
  std::array<std::uint32_t, 4 * kBlocks> words_{};
  std::size_t used_ = words_.size();
};

double percentile(const std::vector<double>& sorted, double fraction) {
  // Linear interpolation between order statistics (numpy's default).
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - std::floor(place)) * (sorted[above] - sorted[below]);
}

BootstrapResult summarise(std::vector<double> values, const BootstrapOptions& options) {
  BootstrapResult result;
  // The spread of the statistic itself, not of its mean over resamples.
  result.standard_error = standard_error(values) * std::sqrt(static_cast<double>(values.size()));
  std::sort(values.begin(), values.end());
  const double tail = (1.0 - options.confidence) / 2.0;
  result.interval = {percentile(values, tail), percentile(values, 1.0 - tail)};
  result.tost_interval = {percentile(values, 0.05), percentile(values, 0.95)};
  return result;
}

void check(const BootstrapOptions& options) {
  GM_CHECK(options.resamples >= 100, kInvalidArgument, "bootstrap: ", options.resamples,
           " resamples, expected at least 100");
  GM_CHECK(options.confidence > 0.0 && options.confidence < 1.0, kInvalidArgument,
           "bootstrap: confidence ", options.confidence, " is outside (0, 1)");
}

std::vector<double> resample(const BootstrapOptions& options,
                             const std::function<double(std::uint64_t)>& statistic) {
  std::vector<double> values(static_cast<std::size_t>(options.resamples));
  at::parallel_for(0, options.resamples, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      values[static_cast<std::size_t>(r)] = statistic(static_cast<std::uint64_t>(r));
    }
  });
  return values;
}

double log_choose(std::int64_t n, std::int64_t k) {
  return std::lgamma(static_cast<double>(n) + 1.0) - std::lgamma(static_cast<double>(k) + 1.0) -
         std::lgamma(static_cast<double>(n - k) + 1.0);
}

}  // namespace

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double standard_error(std::span<const double> values) {
  if (values.size() < 2) {
    return 0.0;
  }
  const double center = mean(values);
  double squares = 0.0;
  for (const double value : values) {
    squares += (value - center) * (value - center);
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / (n - 1.0) / n);
}

double clustered_standard_error(std::span<const double> values,
                                std::span<const std::string> clusters) {
  GM_ASSERT(values.size() == clusters.size());
  const double center = mean(values);
  std::map<std::string, double> residuals;
  for (std::size_t i = 0; i < values.size(); ++i) {
    // Residuals of a cluster add up before they are squared: that is what dependence does.
    residuals[clusters[i]] += values[i] - center;
  }
  double squares = 0.0;
  for (const auto& [cluster, sum] : residuals) {
    squares += sum * sum;
  }
  return std::sqrt(squares) / static_cast<double>(values.size());
}

double pooled_standard_error(std::span<const double> errors, std::span<const std::int64_t> sizes) {
  GM_ASSERT(errors.size() == sizes.size());
  double variance = 0.0;
  double total = 0.0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const auto n = static_cast<double>(sizes[i]);
    // errors^2 n is the sample variance of the subtask.
    variance += (n - 1.0) * n * errors[i] * errors[i];
    total += n;
  }
  const double degrees = total - static_cast<double>(errors.size());
  return degrees <= 0.0 ? 0.0 : std::sqrt(variance / degrees / total);
}

double effective_sample_size(std::span<const double> values,
                             std::span<const std::string> clusters) {
  const auto n = static_cast<double>(values.size());
  const auto groups =
      static_cast<double>(std::set<std::string>(clusters.begin(), clusters.end()).size());
  if (groups <= 1.0) {
    return groups;
  }
  // G / (G - 1) for few clusters; never better than independent items.
  const double clustered =
      clustered_standard_error(values, clusters) * std::sqrt(groups / (groups - 1.0));
  const double independent = standard_error(values);
  return clustered > independent ? n * std::pow(independent / clustered, 2) : n;
}

double normal_quantile(double confidence) {
  // Bisection: exact to the last bit, and called once a figure.
  double low = 0.0;
  double high = 40.0;  // erfc underflows before
  for (int step = 0; step < 100; ++step) {
    const double middle = 0.5 * (low + high);
    (std::erfc(middle / std::numbers::sqrt2) > 1.0 - confidence ? low : high) = middle;
  }
  return low;
}

Interval wilson_interval(double proportion, double n, double confidence) {
  const double z = normal_quantile(confidence);
  const double scale = 1.0 + z * z / n;
  const double center = proportion + z * z / (2.0 * n);
  const double half = z * std::sqrt(proportion * (1.0 - proportion) / n + z * z / (4.0 * n * n));
  return {std::max(0.0, (center - half) / scale), std::min(1.0, (center + half) / scale)};
}

McNemar mcnemar(std::int64_t b, std::int64_t c) {
  const std::int64_t n = b + c;
  if (n == 0) {
    return {};
  }
  const std::int64_t smaller = std::min(b, c);
  const double log_half_n = static_cast<double>(n) * std::log(0.5);
  double tail = 0.0;  // P(X <= smaller), X ~ Binomial(n, 1/2)
  for (std::int64_t k = 0; k <= smaller; ++k) {
    tail += std::exp(log_choose(n, k) + log_half_n);
  }
  const double point = std::exp(log_choose(n, smaller) + log_half_n);
  // Mid-p counts half of the observed point in each tail.
  return {.exact_p = std::min(1.0, 2.0 * tail), .mid_p = std::min(1.0, 2.0 * tail - point)};
}

double paired_standard_error(std::int64_t b, std::int64_t c, std::int64_t n) {
  const auto difference = static_cast<double>(b - c);
  const auto count = static_cast<double>(n);
  return std::sqrt(static_cast<double>(b + c) - difference * difference / count) / count;
}

BootstrapResult bootstrap_ratio(std::span<const double> numerators,
                                std::span<const double> denominators,
                                const BootstrapOptions& options) {
  check(options);
  GM_ASSERT(numerators.size() == denominators.size());
  GM_CHECK(!numerators.empty(), kInvalidArgument, "bootstrap: there is nothing to resample");
  const std::uint64_t stream = stream_id("eval/bootstrap_ratio");
  return summarise(resample(options,
                            [&](std::uint64_t r) {
                              Indices indices(options.seed, stream, r);
                              double numerator = 0.0;
                              double denominator = 0.0;
                              for (std::size_t i = 0; i < numerators.size(); ++i) {
                                const std::size_t k = indices.below(numerators.size());
                                numerator += numerators[k];
                                denominator += denominators[k];
                              }
                              // Resamples of empty documents alone say nothing.
                              return denominator == 0.0 ? 0.0 : numerator / denominator;
                            }),
                   options);
}

BootstrapResult bootstrap_groups(const std::vector<std::vector<double>>& groups,
                                 const BootstrapOptions& options) {
  check(options);
  GM_CHECK(!groups.empty(), kInvalidArgument, "bootstrap: there is nothing to resample");
  for (const auto& group : groups) {
    GM_CHECK(!group.empty(), kInvalidArgument, "bootstrap: a group is empty");
  }
  const std::uint64_t stream = stream_id("eval/bootstrap_groups");
  return summarise(resample(options,
                            [&](std::uint64_t r) {
                              Indices indices(options.seed, stream, r);
                              double sum_of_means = 0.0;
                              for (std::size_t g = 0; g < groups.size(); ++g) {
                                const auto& group = groups[indices.below(groups.size())];
                                double sum = 0.0;
                                for (std::size_t i = 0; i < group.size(); ++i) {
                                  sum += group[indices.below(group.size())];
                                }
                                sum_of_means += sum / static_cast<double>(group.size());
                              }
                              return sum_of_means / static_cast<double>(groups.size());
                            }),
                   options);
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  // Adjusted values never fall with rank.
  double running = 0.0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    running = std::max(
        running, std::min(1.0, p_values[order[rank]] * static_cast<double>(order.size() - rank)));
    adjusted[order[rank]] = running;
  }
  return adjusted;
}

}  // namespace growmerge::eval
