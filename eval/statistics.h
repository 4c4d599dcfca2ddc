// Standard errors, intervals and paired tests.
//
// Sources: Miller 2024, "Adding Error Bars to Evals", arXiv:2411.00640 (standard errors, clusters,
// paired differences); Wilson 1927; McNemar 1947 with the exact and mid-p forms (Fagerland et al.
// 2013); percentile bootstrap (Efron & Tibshirani 1993). Random numbers are Philox: a pure function
// of the seed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace growmerge::eval {

struct Interval {
  double low = 0.0;
  double high = 0.0;
  [[nodiscard]] bool contains(double x) const { return low <= x && x <= high; }
};

[[nodiscard]] double mean(std::span<const double> values);
/// Sample standard deviation (n - 1) / sqrt(n), as lm-eval; 0 for fewer than two values.
[[nodiscard]] double standard_error(std::span<const double> values);
/// Cluster-robust standard error of the mean: sqrt(sum over clusters of (sum of residuals)^2) / n.
[[nodiscard]] double clustered_standard_error(std::span<const double> values,
                                              std::span<const std::string> clusters);
/// lm-eval's standard error of a group: items of all subtasks as one sample (between-subtask
/// variance left out). `sizes` are numbers of items.
[[nodiscard]] double pooled_standard_error(std::span<const double> errors,
                                           std::span<const std::int64_t> sizes);
/// The z with P(|Z| <= z) = confidence for a standard normal Z; 1.96 for 0.95.
[[nodiscard]] double normal_quantile(double confidence);

/// Wilson score interval of a proportion of n items. Of clustered items, n is
/// effective_sample_size().
[[nodiscard]] Interval wilson_interval(double proportion, double n, double confidence = 0.95);

/// So many independent items would say as much as n in G clusters: n * (independent standard error
/// / clustered standard error)^2 (Kish 1965, the design effect), at most n. The clustered error is
/// taken with G / (G - 1); one cluster says as much as one item.
[[nodiscard]] double effective_sample_size(std::span<const double> values,
                                           std::span<const std::string> clusters);

/// McNemar's test of two classifiers from the discordant counts.
struct McNemar {
  double exact_p = 1.0;  // two-sided exact binomial
  double mid_p = 1.0;    // less conservative; preferred (exact_p <= 1 is kept beside it)
};
[[nodiscard]] McNemar mcnemar(std::int64_t b, std::int64_t c);

/// Standard error of the difference of two accuracies over the same n items, from the discordant
/// counts: sqrt((b + c) - (b - c)^2 / n) / n.
[[nodiscard]] double paired_standard_error(std::int64_t b, std::int64_t c, std::int64_t n);

struct BootstrapOptions {
  std::int64_t resamples = 2000;
  std::uint64_t seed = 0;
  double confidence = 0.95;
};

struct BootstrapResult {
  Interval interval;       // percentile, at options.confidence
  Interval tost_interval;  // percentile at 90 %: |end| bounds say what equivalence can be claimed
  double standard_error = 0.0;  // standard deviation of the resampled statistic
};

/// Bootstrap of sum(numerator) / sum(denominator) over units (documents, clusters, items), all
/// resampled with one set of indices. With two numerators their difference in ratio is paired.
/// Errors: kInvalidArgument (no units, resamples < 100).
[[nodiscard]] BootstrapResult bootstrap_ratio(std::span<const double> numerators,
                                              std::span<const double> denominators,
                                              const BootstrapOptions& options);

/// Two-level bootstrap of the mean over groups of group means: groups first, then the items of each
/// drawn group.
[[nodiscard]] BootstrapResult bootstrap_groups(const std::vector<std::vector<double>>& groups,
                                               const BootstrapOptions& options);

/// Holm's step-down adjusted p-values, in the order given.
[[nodiscard]] std::vector<double> holm(std::span<const double> p_values);

}  // namespace growmerge::eval
