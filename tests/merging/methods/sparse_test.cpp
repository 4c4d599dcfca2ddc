// Methods that keep a part of the differences: each against its definition in float64, those that
// draw by what must hold of any draw.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/base/error.h"
#include "merging/methods/arcee_fusion.h"
#include "merging/methods/breadcrumbs.h"
#include "merging/methods/breadcrumbs_ties.h"
#include "merging/methods/dare_linear.h"
#include "merging/methods/della.h"
#include "merging/methods/della_linear.h"
#include "merging/methods/nearswap.h"
#include "merging/methods/passthrough.h"
#include "merging/methods/ram.h"
#include "merging/methods/ramplus_tl.h"
#include "merging/methods/sce.h"
#include "tests/merging/methods/method_fixture.h"
#include "tests/support/expect_error.h"

namespace growmerge::merging {
namespace {

/// The weighted differences that Breadcrumbs keeps, by sorting.
Deltas crumbs_by_definition(const Fixture& f) {
  const std::size_t n = f.base.size();
  Deltas kept(f.models.size(), std::vector<double>(n, 0.0));
  for (std::size_t m = 0; m < f.models.size(); ++m) {
    const Arguments& arguments = f.task.inputs[m].arguments;
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::abs(f.delta(m, a)) > std::abs(f.delta(m, b));
    });
    const auto share = [n](double part) {
      return static_cast<std::size_t>(part * static_cast<double>(n));
    };
    const double density = arguments.number(kDensity);
    const std::size_t target = density >= 1.0 ? n : share(density);
    const std::size_t top =
        density >= 1.0 ? 0 : std::min(share(arguments.number(kGamma)), n - target);
    for (std::size_t j = top; j < top + target; ++j) {
      kept[m][order[j]] = f.delta(m, order[j]) * arguments.number(kWeight);
    }
  }
  return kept;
}

std::vector<double> sum_by_definition(const Fixture& f, const Deltas& kept) {
  double divisor = 0.0;
  for (const TensorTask::Input& input : f.task.inputs) {
    divisor += input.arguments.number(kWeight);
  }
  divisor = f.task.arguments.flag(kNormalize) ? divisor : 1.0;
  std::vector<double> out(f.base.begin(), f.base.end());
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (const auto& delta : kept) {
      out[i] += f.task.arguments.number(kLambda) * delta[i] / divisor;
    }
  }
  return out;
}

void set_crumbs(Fixture& f) {
  f.task.arguments.set(kLambda, 1.3);
  const double densities[] = {0.2, 0.995, 1.0};
  const double gammas[] = {0.05, 0.02, 0.5};
  for (std::size_t m = 0; m < 3; ++m) {
    f.task.inputs[m].arguments.set(kDensity, densities[m]);
    f.task.inputs[m].arguments.set(kGamma, gammas[m]);
  }
}

TEST(Breadcrumbs, EqualsItsDefinitionBySorting) {
  for (const bool normalize : {true, false}) {
    Fixture f(kBreadcrumbs);
    set_crumbs(f);
    f.task.arguments.set(kNormalize, normalize);
    breadcrumbs_merge(f.task);
    const auto expected = sum_by_definition(f, crumbs_by_definition(f));
    expect_formula(f, [&](std::size_t i) { return expected[i]; });
  }
}

TEST(Breadcrumbs, WithoutOutliersToDropKeepsTheLargest) {
  Fixture f(kBreadcrumbs);
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 0.3);
    input.arguments.set(kGamma, 0.0);
  }
  breadcrumbs_merge(f.task);
  const auto expected = sum_by_definition(f, crumbs_by_definition(f));
  expect_formula(f, [&](std::size_t i) { return expected[i]; });
}

TEST(Breadcrumbs, EqualMagnitudesGoByIndex) {
  Fixture f(kBreadcrumbs, {1.0, 1.0, 1.0});
  for (std::size_t i = 0; i < f.base.size(); ++i) {
    f.base[i] = std::round(f.base[i] * 4.0F) / 4.0F;
    for (Values& model : f.models) {
      model[i] = f.base[i] + std::round((model[i] - f.base[i]) * 16.0F) / 16.0F;
    }
  }
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 0.4);
    input.arguments.set(kGamma, 0.1);
  }
  breadcrumbs_merge(f.task);
  const auto expected = sum_by_definition(f, crumbs_by_definition(f));
  expect_formula(f, [&](std::size_t i) { return expected[i]; });
}

TEST(BreadcrumbsTies, ElectsAmongWhatBreadcrumbsKeeps) {
  Fixture f(kBreadcrumbsTies);
  set_crumbs(f);
  breadcrumbs_ties_merge(f.task);
  const auto expected = elected_by_definition(f, crumbs_by_definition(f));
  expect_formula(f, [&](std::size_t i) { return expected[i]; });
}

/// Of a merge of one model with weight 1: which entries survived, and what they were multiplied by.
struct Survivors {
  explicit Survivors(const Fixture& f) {
    for (std::size_t i = 0; i < f.base.size(); ++i) {
      const double change = static_cast<double>(f.out[i]) - f.base[i];
      kept.push_back(std::abs(change) > 1e-9);
      all += std::abs(f.delta(0, i));
      after += std::abs(change);
    }
  }
  [[nodiscard]] double share(std::size_t begin, std::size_t end) const {
    return static_cast<double>(std::count(kept.begin() + static_cast<std::ptrdiff_t>(begin),
                                          kept.begin() + static_cast<std::ptrdiff_t>(end), true)) /
           static_cast<double>(end - begin);
  }
  std::vector<bool> kept;
  double all = 0.0;    // sum of magnitudes before
  double after = 0.0;  // and after
};

Fixture one_model(const Method& method, double density) {
  Fixture f(method, {1.0, 1.0, 1.0});
  f.task.inputs.resize(1);
  f.task.inputs[0].arguments.set(kDensity, density);
  f.task.seed = 5;
  return f;
}

TEST(DareLinear, KeepsAShareAndTheSumOfMagnitudes) {
  Fixture f = one_model(kDareLinear, 0.3);
  f.task.inputs[0].weights = source(f.models[0]);
  f.task.base = source(f.base);
  f.task.out.put = [&f](std::uint64_t offset, std::span<const std::byte> bytes) {
    std::memcpy(reinterpret_cast<std::byte*>(f.out.data()) + offset, bytes.data(), bytes.size());
  };
  dare_linear_merge(f.task);
  const Survivors survivors(f);
  EXPECT_NEAR(survivors.share(0, f.base.size()), 0.3, 0.02);
  EXPECT_NEAR(survivors.after / survivors.all, 1.0, 1e-4);
  const Values first = f.out;
  dare_linear_merge(f.task);
  EXPECT_EQ(f.out, first) << "the same seed draws the same";
  f.task.seed = 6;
  dare_linear_merge(f.task);
  EXPECT_NE(f.out, first);
}

TEST(Della, LargerEntriesOfARowSurviveMoreOften) {
  constexpr std::size_t kLength = 64;
  for (const Method* method : {&kDella, &kDellaLinear}) {
    SCOPED_TRACE(method->name);
    Fixture f(*method, {1.0, 1.0, 1.0});
    f.shape_as_rows(kLength);
    f.task.inputs.resize(1);
    f.task.inputs[0].arguments.set(kDensity, 0.5);
    f.task.inputs[0].arguments.set(kEpsilon, 0.3);
    f.task.seed = 7;
    // Each row's magnitudes rise with their place: rank is place.
    for (std::size_t i = 0; i < f.base.size(); ++i) {
      f.base[i] = 0.0F;
      f.models[0][i] = static_cast<float>(1 + i % kLength) * (i % 2 == 0 ? 1.0F : -1.0F);
    }
    method->merge(f.task);
    const Survivors survivors(f);
    EXPECT_NEAR(survivors.share(0, f.base.size()), 0.5, 0.02);
    EXPECT_NEAR(survivors.after / survivors.all, 1.0, 1e-5);
    double low = 0.0;
    double high = 0.0;
    const std::size_t rows = f.base.size() / kLength;
    for (std::size_t row = 0; row < rows; ++row) {
      low += survivors.share(row * kLength, row * kLength + 8) / static_cast<double>(rows);
      high +=
          survivors.share((row + 1) * kLength - 8, (row + 1) * kLength) / static_cast<double>(rows);
    }
    // Mean probabilities of the eight lowest and highest ranks.
    EXPECT_NEAR(low, 0.2 + 0.6 * 3.5 / 63.0, 0.05);
    EXPECT_NEAR(high, 0.8 - 0.6 * 3.5 / 63.0, 0.05);
  }
}

TEST(Della, WholeAndNoDensityAndImpossibleProbabilities) {
  Fixture f(kDellaLinear);
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 1.0);
  }
  della_linear_merge(f.task);
  expect_formula(f, [&](std::size_t i) {
    return f.base[i] + 0.5 * f.delta(0, i) + 0.3 * f.delta(1, i) + 0.9 * f.delta(2, i);
  });
  for (TensorTask::Input& input : f.task.inputs) {
    input.arguments.set(kDensity, 0.0);
  }
  della_linear_merge(f.task);
  EXPECT_EQ(f.out, f.base);
  f.task.inputs[1].arguments.set(kDensity, 0.1);
  EXPECT_ERROR(della_linear_merge(f.task), kInvalidArgument, "model 1", "lower epsilon");
}

TEST(Sce, EqualsItsDefinition) {
  for (const double share : {1.0, 0.25, 0.0}) {
    SCOPED_TRACE(share);
    Fixture f(kSce);
    // Mean squares large enough that weights follow them.
    for (Values& model : f.models) {
      for (std::size_t i = 0; i < model.size(); ++i) {
        model[i] = f.base[i] + 10.0F * (model[i] - f.base[i]);
      }
    }
    f.models[2] = f.models[1];  // entries of two alike vary still
    f.task.inputs[2].weights = source(f.models[2]);
    f.task.arguments.set(kSelectTopK, share);
    sce_merge(f.task);
    const std::size_t n = f.base.size();
    std::vector<double> variances(n);
    for (std::size_t i = 0; i < n; ++i) {
      const double mean = (f.delta(0, i) + f.delta(1, i) + f.delta(2, i)) / 3.0;
      for (std::size_t m = 0; m < 3; ++m) {
        variances[i] += (f.delta(m, i) - mean) * (f.delta(m, i) - mean) / 3.0;
      }
    }
    std::vector<double> sorted = variances;
    std::sort(sorted.rbegin(), sorted.rend());
    const auto count = static_cast<std::size_t>(share * static_cast<double>(n));
    const double threshold = share >= 1.0 ? -1.0 : count == 0 ? 1e30 : sorted[count - 1];
    std::vector<double> shares(3, 0.0);
    double total = 0.0;
    const auto kept = [&](std::size_t m, std::size_t i) {
      return variances[i] >= threshold * (1.0 - 1e-12) ? f.delta(m, i) : 0.0;
    };
    for (std::size_t m = 0; m < 3; ++m) {
      for (std::size_t i = 0; i < n; ++i) {
        shares[m] += kept(m, i) * kept(m, i);
      }
      total += shares[m];
    }
    expect_formula(f, [&](std::size_t i) {
      const double election = kept(0, i) + kept(1, i) + kept(2, i);
      double sum = 0.0;
      double divisor = 0.0;
      for (std::size_t m = 0; m < 3; ++m) {
        if (kept(m, i) != 0.0 && (kept(m, i) > 0.0) == (election >= 0.0)) {
          sum += kept(m, i) * shares[m] / total;
          divisor += shares[m] / total;
        }
      }
      return f.base[i] + (divisor > 0.0 ? sum / std::max(divisor, 1e-6) : 0.0);
    });
  }
}

TEST(Ram, AveragesWhatSeveralChangedAndTakesTheRestWhole) {
  Fixture f(kRam);
  f.task.arguments.set(kRamEpsilon, 0.05);
  ram_merge(f.task);
  const auto active = [&](std::size_t m, std::size_t i) { return std::abs(f.delta(m, i)) > 0.05; };
  expect_formula(f, [&](std::size_t i) {
    double sum = 0.0;
    int count = 0;
    for (std::size_t m = 0; m < 3; ++m) {
      sum += active(m, i) ? f.delta(m, i) : 0.0;
      count += active(m, i) ? 1 : 0;
    }
    return f.base[i] + (count > 0 ? sum / count : 0.0);
  });
  Fixture plus(kRamPlusTl);
  plus.task.arguments.set(kRamEpsilon, 0.05);
  plus.task.arguments.set(kRamAlpha, 100.0);
  ramplus_tl_merge(plus.task);
  std::vector<double> shared(3, 0.0);
  std::vector<double> alone(3, 0.0);
  const auto count = [&](std::size_t i) {
    return (active(0, i) ? 1 : 0) + (active(1, i) ? 1 : 0) + (active(2, i) ? 1 : 0);
  };
  for (std::size_t i = 0; i < f.base.size(); ++i) {
    for (std::size_t m = 0; m < 3; ++m) {
      shared[m] += active(m, i) && count(i) > 1 ? 1.0 : 0.0;
      alone[m] += active(m, i) && count(i) == 1 ? 1.0 : 0.0;
    }
  }
  expect_formula(plus, [&](std::size_t i) {
    double sum = 0.0;
    for (std::size_t m = 0; m < 3; ++m) {
      const double factor = count(i) == 1 ? 1.0 + 0.1 * shared[m] / alone[m] : 1.0;
      sum += active(m, i) ? factor * plus.delta(m, i) / count(i) : 0.0;
    }
    return plus.base[i] + sum;
  });
}

TEST(Nearswap, MovesTheBaseWhereBothAreNear) {
  Fixture f(kNearswap);
  f.task.arguments.set(kNearswapT, 0.05);
  nearswap_merge(f.task);
  expect_formula(f, [&](std::size_t i) {
    const double g = std::clamp(0.05 / std::max(std::abs(f.delta(0, i)), 1e-6), 0.0, 1.0);
    return f.base[i] + g * f.delta(0, i);
  });
}

TEST(Passthrough, ScalesOrLeavesAsItIs) {
  Fixture f(kPassthrough);
  passthrough_merge(f.task);
  EXPECT_EQ(f.out, f.models[0]);
  f.task.inputs[0].arguments.set(kScale, 0.0);
  passthrough_merge(f.task);
  EXPECT_EQ(f.out, Values(f.out.size(), 0.0F));
}

TEST(ArceeFusion, TakesTheImportantDifferences) {
  for (const std::size_t length : {std::size_t{37}, std::size_t{1025}}) {
    Fixture f(kArceeFusion);
    f.shape_as_rows(static_cast<std::int64_t>(length));
    arcee_fusion_merge(f.task);
    const std::size_t n = f.base.size();
    std::vector<double> importance(n);
    for (std::size_t row = 0; row < n / length; ++row) {
      double sum_p = 0.0;
      double sum_q = 0.0;
      for (std::size_t i = row * length; i < (row + 1) * length; ++i) {
        sum_p += std::exp(static_cast<double>(f.models[0][i]));
        sum_q += std::exp(static_cast<double>(f.base[i]));
      }
      double kl = 0.0;
      for (std::size_t i = row * length; i < (row + 1) * length; ++i) {
        const double p = std::exp(static_cast<double>(f.models[0][i])) / sum_p + 1e-8;
        const double q = std::exp(static_cast<double>(f.base[i])) / sum_q + 1e-8;
        kl += p * std::log(p / q);
      }
      for (std::size_t i = row * length; i < (row + 1) * length; ++i) {
        importance[i] = std::abs(f.delta(0, i)) * kl;
      }
    }
    std::vector<double> sorted = importance;
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&](double q) {
      return sorted[static_cast<std::size_t>(q * static_cast<double>(n - 1))];
    };
    const double threshold = at(0.5) + 1.5 * (at(0.75) - at(0.25));
    std::size_t unclear = 0;
    std::size_t wrong = 0;
    std::size_t taken = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const bool is_taken = f.out[i] != f.base[i];
      taken += is_taken ? 1 : 0;
      // The scores are float32: at the threshold either may be.
      const bool is_near = std::abs(importance[i] - threshold) <= 1e-5 * threshold;
      unclear += is_near ? 1 : 0;
      wrong += !is_near && is_taken != (importance[i] >= threshold) ? 1 : 0;
    }
    EXPECT_EQ(wrong, 0U);
    EXPECT_LE(unclear, 4U);
    EXPECT_GT(taken, n / 100);
  }
}

/// One element, and tensors in which nothing differs.
TEST(SparseMethods, TinyAndEqualTensors) {
  for (const Method* method :
       {&kBreadcrumbs, &kBreadcrumbsTies, &kDella, &kDellaLinear, &kDareLinear, &kSce, &kRam,
        &kRamPlusTl, &kNearswap, &kArceeFusion}) {
    SCOPED_TRACE(method->name);
    Fixture f(*method);
    for (TensorTask::Input& input : f.task.inputs) {
      input.arguments.set(kDensity, 0.5);
    }
    f.task.num_elements = 1;
    f.task.shape = {1};
    EXPECT_NO_THROW(method->merge(f.task));
    Fixture equal(*method);
    for (TensorTask::Input& input : equal.task.inputs) {
      input.weights = source(equal.base);
      input.arguments.set(kDensity, 0.5);
    }
    method->merge(equal.task);
    EXPECT_EQ(equal.out, equal.base);
  }
}

}  // namespace
}  // namespace growmerge::merging
