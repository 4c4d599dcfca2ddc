// AdamW and the gradient's norm: the CUDA twin against core/ops/adamw.h. Linked into the emulated
// and the device's test.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <string>

#include "core/base/error.h"
#include "core/ops/adamw.h"
#include "tests/core/ops/cuda/device_under_test.h"

namespace growmerge::ops::cuda {
namespace {

/// More tensors than one launch takes; vectors, matrices, an empty one, one of several pieces.
ParamMap random_map(at::ScalarType dtype) {
  ParamMap map;
  for (int i = 0; i < 67; ++i) {
    map.set("small." + std::to_string(i), at::randn({1 + i % 9, 1 + i % 5}, at::kDouble).to(dtype));
  }
  map.set("vector", at::randn({37}, at::kDouble).to(dtype));
  map.set("empty", at::zeros({0, 4}, dtype));
  map.set("large", at::randn({300, 221}, at::kDouble).to(dtype));
  return map;
}

template <class Fn>
ParamMap mapped(const ParamMap& map, const Fn& fn) {
  ParamMap out;
  for (const auto& [name, tensor] : map) {
    out.set(name, fn(tensor));
  }
  return out;
}

void append(const ParamMap& map, std::vector<at::Tensor>& out) {
  for (const auto& [name, tensor] : map) {
    out.push_back(tensor);
  }
}

struct Step {
  double lr = 1e-2;
  double clip_norm = 1.0;
  double loss_sum = 3.0;
  double num_targets = 17.0;
};

at::Tensor schedule_of(const Step& step, const AdamWConfig& config, std::int64_t t) {
  const auto power = static_cast<double>(t);
  return at::tensor({step.lr, 1.0 - std::pow(config.beta1, power),
                     1.0 - std::pow(config.beta2, power), step.clip_norm},
                    at::kDouble);
}

class CudaAdamW : public CudaOpsTest {
 protected:
  static at::Tensor scalar(double value) { return there(at::tensor({value}, at::kDouble)); }
};

TEST_F(CudaAdamW, SquaredNorm) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const ParamMap grads = random_map(dtype);
    const auto got = outputs([&] {
      const at::Tensor sum = scalar(9.0);
      twin().squared_norm(mapped(grads, there), sum);
      const at::Tensor none = scalar(9.0);
      twin().squared_norm(ParamMap(), none);
      return std::vector{sum, none};
    });
    const double expected = squared_norm(grads);
    EXPECT_NEAR(got[0].item<double>(), expected, 1e-13 * expected);
    EXPECT_EQ(got[1].item<double>(), 0.0);
  }
}

TEST_F(CudaAdamW, StepHasTheBitsOfTheCpu) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const double clip_norm : {0.0, 1.0, 1e6}) {
      const ParamMap params = random_map(dtype);
      const ParamMap grads = random_map(dtype);
      AdamWConfig config;
      config.weight_decay = 0.1;
      const Step step{.clip_norm = clip_norm};
      AdamWState state = make_adamw_state(params);
      for (const auto& [name, tensor] : params) {
        state.m.at(name).copy_(0.1 * at::randn(tensor.sizes(), dtype));
        state.v.at(name).copy_(at::randn(tensor.sizes(), dtype).abs());
      }
      state.step = 4;
      const double squares = squared_norm(grads);
      at::Tensor factors;
      std::vector<at::Tensor> expected;
      const auto got = outputs([&] {
        const ParamMap p = mapped(params, there);
        const ParamMap copies =
            mapped(params, [](const at::Tensor& x) { return there(x.to(at::kBFloat16).zero_()); });
        AdamWState s{.m = mapped(state.m, there), .v = mapped(state.v, there), .step = state.step};
        factors = there(at::zeros({AdamWFactors::kSize}, at::kDouble));
        twin().adamw_factors(there(schedule_of(step, config, 5)), scalar(squares),
                             scalar(step.loss_sum), scalar(step.num_targets), factors);
        twin().adamw_step(p, mapped(grads, there), s, factors, config, copies);
        EXPECT_EQ(s.step, 4) << "the host counts steps";
        std::vector<at::Tensor> out;
        append(p, out);
        append(s.m, out);
        append(s.v, out);
        append(copies, out);
        return out;
      });
      const double norm = std::sqrt(squares) / step.num_targets;
      const double clip = clip_norm > 0.0 && norm > clip_norm ? clip_norm / norm : 1.0;
      EXPECT_EQ(factors[AdamWFactors::kIsFinite].item<double>(), 1.0);
      EXPECT_DOUBLE_EQ(factors[AdamWFactors::kNorm].item<double>(), norm);
      EXPECT_DOUBLE_EQ(factors[AdamWFactors::kGradScale].item<double>(), clip / step.num_targets);
      const ParamMap copies =
          mapped(params, [](const at::Tensor& x) { return x.to(at::kBFloat16).zero_(); });
      adamw_step_(params, grads, state, step.lr, clip / step.num_targets, config, copies);
      append(params, expected);
      append(state.m, expected);
      append(state.v, expected);
      append(copies, expected);
      ASSERT_EQ(got.size(), expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        expect_same(got[i], expected[i], concat("tensor ", i, ", clip at ", clip_norm));
      }
    }
  }
}

TEST_F(CudaAdamW, TakesNoStepWhereSomethingIsNotFinite) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const ParamMap params = random_map(at::kFloat);
  const ParamMap grads = random_map(at::kFloat);
  const AdamWConfig config;
  struct Numbers {
    double squares, loss_sum, num_targets;
    bool is_finite;
  };
  for (const Numbers& numbers : {Numbers{2.0, 1.0, 5.0, true}, Numbers{kNan, 1.0, 5.0, false},
                                 Numbers{kInf, 1.0, 5.0, false}, Numbers{2.0, kNan, 5.0, false},
                                 Numbers{2.0, -kInf, 5.0, false}, Numbers{2.0, 1.0, 0.0, false}}) {
    const ParamMap p = mapped(params, there);
    const ParamMap copies =
        mapped(params, [](const at::Tensor& x) { return there(x.to(at::kBFloat16)); });
    const AdamWState state{.m = mapped(p.zeros_like(at::kFloat), there),
                           .v = mapped(p.zeros_like(at::kFloat), there),
                           .step = 0};
    const at::Tensor factors = there(at::zeros({AdamWFactors::kSize}, at::kDouble));
    twin().adamw_factors(there(schedule_of({}, config, 1)), scalar(numbers.squares),
                         scalar(numbers.loss_sum), scalar(numbers.num_targets), factors);
    twin().adamw_step(p, mapped(grads, there), state, factors, config, copies);
    EXPECT_EQ(factors[AdamWFactors::kIsFinite].item<double>(), numbers.is_finite ? 1.0 : 0.0);
    const bool is_same = p.at("large").cpu().equal(params.at("large")) &&
                         copies.at("large").cpu().equal(params.at("large").to(at::kBFloat16)) &&
                         state.m.at("large").abs().max().item<double>() == 0.0 &&
                         state.v.at("large").abs().max().item<double>() == 0.0;
    EXPECT_EQ(is_same, !numbers.is_finite) << numbers.squares << " " << numbers.loss_sum;
  }
}

}  // namespace
}  // namespace growmerge::ops::cuda
