#include "core/ops/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/ops/adamw_kernel.h"
#include "tests/support/expect_error.h"

namespace growmerge {
namespace {

at::Tensor random_tensor(std::vector<std::int64_t> shape, std::uint64_t stream,
                         at::ScalarType dtype) {
  at::Tensor t = at::empty(shape, at::TensorOptions().dtype(at::ScalarType::Double));
  const Philox random(7, stream);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    t.data_ptr<double>()[i] = random.normal(static_cast<std::uint64_t>(i));
  }
  return t.to(dtype);
}

ParamMap random_params(std::uint64_t stream, at::ScalarType dtype) {
  ParamMap out;
  out.set("matrix", random_tensor({37, 1001}, stream, dtype));
  out.set("gain", random_tensor({129}, stream + 1, dtype));
  return out;
}

// The formula of the header, one element at a time in float64.
void reference_step(double& p, double g, double& m, double& v, double t, double lr, double wd,
                    const AdamWConfig& c) {
  m = c.beta1 * m + (1 - c.beta1) * g;
  v = c.beta2 * v + (1 - c.beta2) * g * g;
  const double mhat = m / (1 - std::pow(c.beta1, t));
  const double vhat = v / (1 - std::pow(c.beta2, t));
  p -= lr * wd * p;
  p -= lr * mhat / (std::sqrt(vhat) + c.eps);
}

double largest_difference_from_formula(at::ScalarType dtype, bool decay_all) {
  const AdamWConfig config{
      .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .decay_all = decay_all};
  const ParamMap params = random_params(1, dtype);
  const ParamMap start = params.to(at::ScalarType::Double).clone();
  AdamWState state = make_adamw_state(params);
  std::map<std::string, std::vector<double>> p, m, v;
  for (const auto& [name, tensor] : start) {
    const double* data = tensor.const_data_ptr<double>();
    p[name].assign(data, data + tensor.numel());
    m[name].assign(p[name].size(), 0.0);
    v[name].assign(p[name].size(), 0.0);
  }
  const double scale = 0.37;
  for (int step = 1; step <= 5; ++step) {
    const double lr = 1e-2 / step;
    const ParamMap grads = random_params(static_cast<std::uint64_t>(100 * step), dtype);
    adamw_step_(params, grads, state, lr, scale, config, {});
    for (const auto& [name, tensor] : grads.to(at::ScalarType::Double)) {
      const double wd = decay_all || tensor.dim() == 2 ? config.weight_decay : 0.0;
      for (std::size_t i = 0; i < p[name].size(); ++i) {
        reference_step(p[name][i], scale * tensor.const_data_ptr<double>()[i], m[name][i],
                       v[name][i], step, lr, wd, config);
      }
    }
  }
  EXPECT_EQ(state.step, 5);
  double worst = 0.0;
  for (const auto& [name, tensor] : params.to(at::ScalarType::Double)) {
    for (std::size_t i = 0; i < p[name].size(); ++i) {
      worst = std::max(worst, std::abs(tensor.const_data_ptr<double>()[i] - p[name][i]));
    }
  }
  return worst;
}

TEST(AdamW, FollowsTheFormulaInFloat64) {
  EXPECT_LT(largest_difference_from_formula(at::ScalarType::Double, false), 1e-14);
  EXPECT_LT(largest_difference_from_formula(at::ScalarType::Double, true), 1e-14);
}

TEST(AdamW, Float32StaysWithinItsRounding) {
  EXPECT_LT(largest_difference_from_formula(at::ScalarType::Float, false), 3e-6);
}

TEST(AdamW, ComputeCopyIsRoundedToNearestEven) {
  const ParamMap params = random_params(1, at::ScalarType::Float);
  const ParamMap compute = params.to(at::ScalarType::BFloat16);
  AdamWState state = make_adamw_state(params);
  adamw_step_(params, random_params(50, at::ScalarType::Float), state, 1e-2, 1.0, {}, compute);
  for (const auto& [name, tensor] : params) {
    const at::Tensor expected = tensor.to(at::ScalarType::BFloat16);
    EXPECT_TRUE(compute.at(name).equal(expected)) << name;
  }
}

TEST(AdamW, ThreadsDoNotChangeTheBits) {
  const int threads = at::get_num_threads();
  ParamMap results[2];
  double norms[2] = {};
  for (int i = 0; i < 2; ++i) {
    at::set_num_threads(i == 0 ? 1 : 4);
    const ParamMap params = random_params(1, at::ScalarType::Float);
    const ParamMap grads = random_params(50, at::ScalarType::Float);
    AdamWState state = make_adamw_state(params);
    adamw_step_(params, grads, state, 1e-2, 0.5, {}, {});
    results[i] = params;
    norms[i] = squared_norm(grads);
  }
  at::set_num_threads(threads);
  for (const auto& [name, tensor] : results[0]) {
    EXPECT_TRUE(tensor.equal(results[1].at(name))) << name;
  }
  EXPECT_EQ(norms[0], norms[1]);
}

TEST(AdamW, SquaredNormEqualsTheSumInFloat64) {
  const ParamMap grads = random_params(3, at::ScalarType::Float);
  long double sum = 0.0L;
  for (const auto& [name, tensor] : grads) {
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
      const long double x = tensor.const_data_ptr<float>()[i];
      sum += x * x;
    }
  }
  EXPECT_NEAR(squared_norm(grads), static_cast<double>(sum), 1e-11 * static_cast<double>(sum));
}

TEST(AdamW, NaNReachesNormAndCopy) {
  ParamMap params, grads;
  params.set("w", at::empty({3}, at::TensorOptions().dtype(at::ScalarType::Float)).fill_(1.0));
  grads.set("w", params.at("w").clone());
  grads.at("w").data_ptr<float>()[1] = std::nanf("");
  EXPECT_TRUE(std::isnan(squared_norm(grads)));
  const ParamMap compute = params.to(at::ScalarType::BFloat16);
  AdamWState state = make_adamw_state(params);
  adamw_step_(params, grads, state, 1e-2, 1.0, {}, compute);
  EXPECT_TRUE(std::isnan(static_cast<float>(compute.at("w").data_ptr<at::BFloat16>()[1])));
  EXPECT_FALSE(std::isnan(static_cast<float>(compute.at("w").data_ptr<at::BFloat16>()[0])));
}

TEST(AdamW, RefusesWhatDoesNotFit) {
  const ParamMap params = random_params(1, at::ScalarType::Float);
  AdamWState state = make_adamw_state(params);
  const auto step = [&](const ParamMap& p, const ParamMap& g, const AdamWConfig& c) {
    return testing::error_of([&] { adamw_step_(p, g, state, 1e-3, 1.0, c, {}); });
  };
  ParamMap lacking;
  lacking.set("matrix", params.at("matrix"));
  EXPECT_NE(step(params, lacking, {}).find("no tensor 'gain'"), std::string::npos);
  ParamMap bent = params.clone();
  bent.set("gain", random_tensor({130}, 1, at::ScalarType::Float));
  EXPECT_NE(step(params, bent, {}).find("gradient of 'gain' has shape [130]"), std::string::npos);
  EXPECT_NE(step(params.to(at::ScalarType::BFloat16), params, {}).find("must be float32"),
            std::string::npos);
  EXPECT_NE(step(params, params.to(at::ScalarType::Double), {}).find("is Double"),
            std::string::npos);
  EXPECT_NE(step(params, params, {.beta1 = 1.0}).find("beta1 must be in [0, 1)"),
            std::string::npos);
  EXPECT_NE(step(params, params, {.eps = 0.0}).find("eps must be positive"), std::string::npos);
  EXPECT_EQ(state.step, 0);
}

}  // namespace
}  // namespace growmerge
