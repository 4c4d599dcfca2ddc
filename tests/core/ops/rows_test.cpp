// Operators that work on rows, against their definitions in float64, for every instruction set.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/ops/embedding.h"
#include "core/ops/gated_mlp.h"
#include "core/ops/kernel_set.h"
#include "core/ops/linear.h"
#include "core/ops/rms_norm.h"
#include "core/ops/rope.h"

namespace growmerge::ops {
namespace {

constexpr at::ScalarType kF64 = at::ScalarType::Double;

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(kF64) - b.to(kF64)).abs().max().item<double>();
}

at::Tensor f64(std::vector<std::int64_t> sizes) { return at::randn(sizes, kF64); }

/// The sum of w * fn(x) must change along `direction` as its gradient says.
template <class Fn>
void check_gradient(const at::Tensor& x, const at::Tensor& gradient, Fn&& objective) {
  const at::Tensor direction = at::randn(x.sizes(), kF64);
  const at::Tensor original = x.clone();
  const double step = 1e-6;
  x.add_(direction, step);
  const double above = objective();
  x.copy_(original).sub_(direction, step);
  const double below = objective();
  x.copy_(original);
  const double numeric = (above - below) / (2 * step);
  EXPECT_NEAR((gradient * direction).sum().item<double>(), numeric,
              1e-7 * (1.0 + std::abs(numeric)));
}

struct Precision {
  at::ScalarType dtype;
  double bound;
};
const Precision kPrecisions[] = {
    {kF64, 1e-13}, {at::ScalarType::Float, 2e-6}, {at::ScalarType::BFloat16, 3e-2}};

TEST(RmsNorm, AddsAndNormalises) {
  for (const auto& [dtype, bound] : kPrecisions) {
    const at::Tensor x = f64({7, 37}).to(dtype);
    const at::Tensor delta = f64({7, 37}).to(dtype);
    const at::Tensor gain = f64({37}).to(dtype);
    const at::ScalarType acc = dtype == kF64 ? kF64 : at::ScalarType::Float;
    const at::Tensor sum = at::empty({7, 37}, dtype);
    const at::Tensor y = at::empty({7, 37}, dtype);
    const at::Tensor rstd = at::empty({7}, acc);
    add_rms_norm(x, delta, gain, 1e-5, sum, y, rstd);
    const at::Tensor added = (x.to(kF64) + delta.to(kF64)).to(dtype).to(kF64);
    const at::Tensor r = (added.pow(2).mean(1, true) + 1e-5).rsqrt();
    EXPECT_LE(max_difference(sum, added), bound);
    EXPECT_LE(max_difference(rstd, r.squeeze(1)), 1e-5);
    EXPECT_LE(max_difference(y, added * r * gain.to(kF64)), bound);
    const at::Tensor again = at::empty({7, 37}, dtype);
    apply_rms_norm(sum, gain, rstd, again);
    EXPECT_TRUE(at::equal(again, y));
  }
}

TEST(RmsNorm, GradientEqualsFiniteDifferences) {
  const at::Tensor x = f64({5, 11});
  const at::Tensor gain = f64({11});
  const at::Tensor weight = f64({5, 11});
  const at::Tensor y = at::empty({5, 11}, kF64);
  const at::Tensor rstd = at::empty({5}, kF64);
  const auto objective = [&] {
    add_rms_norm(x, at::Tensor(), {gain, 1.0}, 1e-5, at::Tensor(), y, rstd);
    return (y * weight).sum().item<double>();
  };
  (void)objective();
  const at::Tensor dx = at::zeros({5, 11}, kF64);
  const at::Tensor dgain = at::zeros({11}, kF64);
  rms_norm_backward(weight, x, {gain, 1.0}, rstd, dx, dgain);
  check_gradient(x, dx, objective);
  check_gradient(gain, dgain, objective);
}

TEST(Rope, RotatesPairsByPositionAndBack) {
  ModelConfig config;
  config.head_dim = 6;
  config.rope.theta = 100.0;
  const RopeTable table = make_rope_table(config.rope, config.rotary_dim(), 9);
  const at::Tensor positions = at::empty({4}, at::ScalarType::Int);
  for (int i = 0; i < 4; ++i) {
    positions.mutable_data_ptr<std::int32_t>()[i] = 2 * i + 1;
  }
  const at::Tensor x = f64({4, 12});
  const at::Tensor original = x.clone();
  rope_(x, 6, table, positions, false);
  for (int i = 0; i < 4; ++i) {
    for (int head = 0; head < 2; ++head) {
      for (int j = 0; j < 3; ++j) {
        const double angle = (2 * i + 1) / std::pow(100.0, 2.0 * j / 6.0);
        const double a = original[i][head * 6 + j].item<double>();
        const double b = original[i][head * 6 + j + 3].item<double>();
        EXPECT_NEAR(x[i][head * 6 + j].item<double>(), a * std::cos(angle) - b * std::sin(angle),
                    1e-5);
        EXPECT_NEAR(x[i][head * 6 + j + 3].item<double>(),
                    b * std::cos(angle) + a * std::sin(angle), 1e-5);
      }
    }
  }
  rope_(x, 6, table, positions, true);
  EXPECT_LE(max_difference(x, original), 1e-6);
}

double reference_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return 0.0;
}

// Over the whole range where the functions bend, in every instruction set.
TEST(GatedMlp, ActivationsAreExactToRounding) {
  std::vector<float> x = {-1e30F, -100.0F, -88.5F, 88.5F, 100.0F, 1e12F};
  for (int i = 0; i <= 40000; ++i) {
    x.push_back(static_cast<float>(i - 20000) / 1000.0F);
  }
  const std::vector<float> up(x.size(), 1.0F);
  std::vector<float> out(x.size());
  for (const KernelSet& set : available_kernel_sets()) {
    for (int a = 0; a < 3; ++a) {
      set.f32.gated_forward[a](static_cast<Index>(x.size()), x.data(), up.data(), out.data());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = reference_activation(static_cast<Activation>(a), x[i]);
        ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected) + 2e-7)
            << set.isa << " activation " << a << " at " << x[i];
      }
    }
  }
}

TEST(GatedMlp, GradientsEqualFiniteDifferences) {
  for (const Activation activation :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
    const at::Tensor gate = f64({3, 29}) * 2.0;
    const at::Tensor up = f64({3, 29});
    const at::Tensor weight = f64({3, 29});
    const at::Tensor out = at::empty({3, 29}, kF64);
    const auto objective = [&] {
      gated_forward(activation, gate, up, out);
      return (out * weight).sum().item<double>();
    };
    (void)objective();
    const at::Tensor dgate = gate.clone();
    const at::Tensor dup = up.clone();
    const at::Tensor made = weight.clone();
    gated_backward_(activation, dgate, dup, made);
    EXPECT_TRUE(at::equal(made, out));
    check_gradient(gate, dgate, objective);
    check_gradient(up, dup, objective);
  }
}

TEST(Embedding, GradientSumsRowsByToken) {
  for (const auto& [dtype, bound] : kPrecisions) {
    const at::Tensor tokens = at::randint(13, {200}, at::ScalarType::Long);
    const at::Tensor dx = f64({200, 9}).to(dtype);
    const at::ScalarType acc = dtype == kF64 ? kF64 : at::ScalarType::Float;
    const at::Tensor dtable = at::zeros({13, 9}, acc);
    embedding_backward(tokens, dx, dtable);
    const at::Tensor expected = at::zeros({13, 9}, kF64).index_add_(0, tokens, dx.to(kF64));
    EXPECT_LE(max_difference(dtable, expected), 1e-5);
    const at::Tensor table = f64({13, 9}).to(dtype);
    const at::Tensor x = at::empty({200, 9}, dtype);
    embedding_forward(tokens, table, x);
    EXPECT_TRUE(at::equal(x, table.index_select(0, tokens)));
  }
}

TEST(Linear, ProductsAndAccumulation) {
  for (const auto& [dtype, bound] : kPrecisions) {
    const at::Tensor x = f64({33, 20}).to(dtype);
    const at::Tensor w = (f64({17, 20}) * 0.2).to(dtype);
    const at::Tensor dy = f64({33, 17}).to(dtype);
    const at::Tensor y = at::empty({33, 17}, dtype);
    linear_forward(x, w, y);
    EXPECT_LE(max_difference(y, x.to(kF64).matmul(w.to(kF64).t())), 2 * bound);
    const at::Tensor dx = x.clone();
    linear_backward_input(dy, w, dx, 1.0);
    EXPECT_LE(max_difference(dx, x.to(kF64) + dy.to(kF64).matmul(w.to(kF64))), 2 * bound);
    const at::Tensor dw = at::zeros({17, 20}, dtype == kF64 ? kF64 : at::ScalarType::Float);
    linear_backward_weight(dy, x, dw);
    linear_backward_weight(dy, x, dw);
    const at::Tensor twice = dy.to(kF64).t().matmul(x.to(kF64)) * 2.0;
    EXPECT_LE(max_difference(dw, twice), 10 * bound);
    const at::Tensor scale = at::rand({33}, dw.scalar_type());
    const at::Tensor scaled = (x.to(dw.scalar_type()) * scale.unsqueeze(1)).to(dtype);
    linear_backward_weight_scaled(dy, x, scale, dw, at::empty_like(x));
    const at::Tensor sum = twice + dy.to(kF64).t().matmul(scaled.to(kF64));
    EXPECT_LE(max_difference(dw, sum), 10 * bound);
  }
}

}  // namespace
}  // namespace growmerge::ops
