// What the tests of the methods share: three models around a base, on tensors long enough for
// several tiles, and a method's formula in float64.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "merging/common_parameters.h"
#include "merging/method.h"

namespace growmerge::merging {

inline constexpr std::int64_t kCount = 2 * kTileElements + 777;
using Values = std::vector<float>;

inline Values random_values(const char* name, double scale, std::int64_t count = kCount) {
  const Philox random(3, stream_id(name));
  Values out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(scale * random.normal(i));
  }
  return out;
}

inline Values sum_of(const Values& a, const Values& b) {
  Values out(a.size());
  std::transform(a.begin(), a.end(), b.begin(), out.begin(), std::plus<>());
  return out;
}

inline TileSource source(const Values& values, const std::string& label = "x") {
  return {.bytes = std::as_bytes(std::span(values)), .dtype = at::kFloat, .label = label};
}

inline void set_defaults(const Method& method, Parameter::Scope scope, Arguments& arguments) {
  for (const Parameter& parameter : method.parameters) {
    if (parameter.scope == scope && parameter.fallback) {
      arguments.set(parameter, *parameter.fallback);
    }
  }
}

/// Three models around a base, and where the result goes; the method's parameters at their
/// defaults.
struct Fixture {
  explicit Fixture(const Method& method, std::vector<double> weights = {0.5, 0.3, 0.9})
      : base(random_values("base", 1.0)), out(base.size()) {
    for (const char* name : {"m0", "m1", "m2"}) {
      models.push_back(sum_of(base, random_values(name, 0.1)));
    }
    task.name = "t";
    task.num_elements = static_cast<std::int64_t>(base.size());
    task.shape = {task.num_elements};
    task.has_base = method.needs.base != BaseUse::kNone;
    task.base = source(base);
    for (std::size_t m = 0; m < models.size(); ++m) {
      TensorTask::Input input;
      input.weights = source(models[m], "model " + std::to_string(m));
      set_defaults(method, Parameter::Scope::kModel, input.arguments);
      input.arguments.set(kWeight, weights[m]);
      task.inputs.push_back(input);
    }
    set_defaults(method, Parameter::Scope::kTensor, task.arguments);
    for (const Parameter& parameter : method.parameters) {
      if (parameter.scope == Parameter::Scope::kTensor && !parameter.fallback) {
        task.arguments.set(parameter, 0.3);
      }
    }
    if (method.needs.max_models != 0) {
      task.inputs.resize(std::min(task.inputs.size(), method.needs.max_models));
    }
    task.out.dtype = at::kFloat;
    task.out.label = "tensor 't'";
    task.out.put = [this](std::uint64_t offset, std::span<const std::byte> bytes) {
      std::memcpy(reinterpret_cast<std::byte*>(out.data()) + offset, bytes.data(), bytes.size());
    };
  }
  /// The tensor as a matrix with rows of `length`, and what does not fill one left out.
  void shape_as_rows(std::int64_t length) {
    task.num_elements = task.num_elements / length * length;
    task.shape = {task.num_elements / length, length};
    base.resize(static_cast<std::size_t>(task.num_elements));
    out.resize(base.size());
  }
  [[nodiscard]] double delta(std::size_t m, std::size_t i) const {
    return models[m][i] - base[i];  // as float32 sees it
  }

  Values base;
  std::vector<Values> models;
  Values out;
  TensorTask task;
};

/// Three float32 roundings of terms near 1.
inline constexpr double kTolerance = 4e-7;

template <class Formula>
void expect_formula(const Fixture& f, const Formula& formula) {
  double worst = 0.0;
  for (std::size_t i = 0; i < f.out.size(); ++i) {
    const double expected = formula(i);
    worst = std::max(worst, std::abs(f.out[i] - expected) / std::max(1.0, std::abs(expected)));
  }
  EXPECT_LE(worst, kTolerance);
}

using Deltas = std::vector<std::vector<double>>;

/// Elects a sign of the weighted differences and averages what agrees, in float64.
inline std::vector<double> elected_by_definition(const Fixture& f, const Deltas& kept) {
  std::vector<double> out(f.base.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    double election = 0.0;
    for (const auto& delta : kept) {
      election += delta[i];
    }
    double sum = 0.0;
    double divisor = 0.0;
    for (std::size_t m = 0; m < kept.size(); ++m) {
      if (kept[m][i] != 0.0 && (kept[m][i] > 0.0) == (election >= 0.0)) {
        sum += kept[m][i];
        divisor += f.task.inputs[m].arguments.number(kWeight);
      }
    }
    out[i] =
        f.base[i] + f.task.arguments.number(kLambda) *
                        (f.task.arguments.flag(kNormalize) && divisor != 0.0 ? sum / divisor : sum);
  }
  return out;
}

}  // namespace growmerge::merging
