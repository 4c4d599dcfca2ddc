// Attention and cross-entropy against their definitions in float64.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/contracts/batch_source.h"
#include "core/ops/attention.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/kernel_set.h"

namespace growmerge::ops {
namespace {

constexpr at::ScalarType kF64 = at::ScalarType::Double;

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(kF64) - b.to(kF64)).abs().max().item<double>();
}

struct Inputs {
  AttentionShape shape;
  std::vector<std::int32_t> starts;
  at::Tensor q, k, v;
};

Inputs random_inputs(std::int64_t kv_heads, std::int64_t head_dim) {
  Inputs in;
  in.shape = {4, kv_heads, head_dim};
  in.starts = {0, 64, 65, 140, 271};
  in.q = at::randn({271, 4 * head_dim}, kF64);
  in.k = at::randn({271, kv_heads * head_dim}, kF64);
  in.v = at::randn({271, kv_heads * head_dim}, kF64);
  return in;
}

/// One query at a time, from the definition.
at::Tensor reference_attention(const Inputs& in) {
  const std::int64_t h = in.shape.head_dim;
  const std::int64_t group = in.shape.num_heads / in.shape.num_kv_heads;
  const at::Tensor q = in.q.to(kF64);
  const at::Tensor k = in.k.to(kF64);
  const at::Tensor v = in.v.to(kF64);
  const at::Tensor out = at::zeros(q.sizes(), kF64);
  for (std::size_t s = 0; s + 1 < in.starts.size(); ++s) {
    for (std::int64_t i = in.starts[s]; i < in.starts[s + 1]; ++i) {
      const std::int64_t keys = i - in.starts[s] + 1;
      for (std::int64_t head = 0; head < in.shape.num_heads; ++head) {
        const std::int64_t at = head / group * h;
        const at::Tensor kh = k.narrow(0, in.starts[s], keys).narrow(1, at, h);
        const at::Tensor vh = v.narrow(0, in.starts[s], keys).narrow(1, at, h);
        const at::Tensor scores = kh.mv(q[i].narrow(0, head * h, h)) / std::sqrt(double(h));
        out[i].narrow(0, head * h, h).copy_(vh.t().mv(at::softmax(scores, 0)));
      }
    }
  }
  return out;
}

TEST(Attention, EqualsTheDefinition) {
  for (const std::int64_t kv_heads : {4, 2, 1}) {
    for (const std::int64_t head_dim : {2, 7, 8, 22, 32, 48, 64}) {
      const Inputs exact = random_inputs(kv_heads, head_dim);
      for (const auto& [dtype, bound] :
           {std::pair(kF64, 1e-13), std::pair(at::ScalarType::Float, 5e-6),
            std::pair(at::ScalarType::BFloat16, 2e-2)}) {
        Inputs in = exact;
        in.q = exact.q.to(dtype);
        in.k = exact.k.to(dtype);
        in.v = exact.v.to(dtype);
        const at::Tensor out = at::empty(in.q.sizes(), dtype);
        attention_forward(in.shape, {in.starts}, in.q, in.k, in.v, out, at::Tensor());
        EXPECT_LE(max_difference(out, reference_attention(in)), bound)
            << kv_heads << " key-value heads of " << head_dim;
      }
    }
  }
}

TEST(Attention, SegmentsThatContinuePrefixesEqualWholeSequences) {
  // Whole: A B, A C, A C D. Shared: A, B and C and D behind what they continue, in another order.
  constexpr std::int64_t kA = 70;
  constexpr std::int64_t kB = 3;
  constexpr std::int64_t kC = 66;
  constexpr std::int64_t kD = 5;
  for (const auto& [dtype, bound] :
       {std::pair(kF64, 1e-14), std::pair(at::ScalarType::BFloat16, 1e-2)}) {
    const Inputs parts = random_inputs(2, 8);
    ASSERT_GE(parts.q.size(0), kA + kB + kC + kD);
    const auto part = [](const at::Tensor& x, std::int64_t start, std::int64_t size) {
      return x.narrow(0, start, size);
    };
    const auto cut = [&, dtype = dtype](const at::Tensor& x) {
      return part(x, 0, kA + kB + kC + kD).contiguous().to(dtype);
    };
    const at::Tensor q = cut(parts.q);
    const at::Tensor k = cut(parts.k);
    const at::Tensor v = cut(parts.v);
    const std::vector<std::int32_t> starts = {0, kA, kA + kB, kA + kB + kC, kA + kB + kC + kD};
    Prefixes prefixes;
    const auto continues =
        [&prefixes](std::initializer_list<std::pair<std::int64_t, std::int64_t>> runs) {
          for (const auto& [start, size] : runs) {
            for (std::int64_t i = 0; i < size; ++i) {
              prefixes.rows.push_back(static_cast<std::int32_t>(start + i));
            }
          }
          prefixes.starts.push_back(static_cast<std::int64_t>(prefixes.rows.size()));
        };
    continues({});
    continues({{0, kA}});
    continues({{0, kA}});
    continues({{0, kA}, {kA + kB, kC}});
    const at::Tensor out = at::empty(q.sizes(), dtype);
    attention_forward(parts.shape, {starts}, q, k, v, out, at::Tensor(), &prefixes);
    const auto whole = [&](const at::Tensor& x) {
      const at::Tensor a = part(x, 0, kA);
      return at::cat({a, part(x, kA, kB), a, part(x, kA + kB, kC + kD)});
    };
    const at::Tensor expected = at::empty({2 * kA + kB + kC + kD, q.size(1)}, dtype);
    const std::vector<std::int32_t> joined = {0, kA + kB, 2 * kA + kB + kC + kD};
    attention_forward(parts.shape, {joined}, whole(q), whole(k), whole(v), expected, at::Tensor());
    const at::Tensor same =
        at::cat({part(expected, 0, kA + kB), part(expected, 2 * kA + kB, kC + kD)});
    EXPECT_LE(max_difference(out, same), bound);
  }
}

TEST(Attention, GradientsEqualFiniteDifferences) {
  for (const std::int64_t kv_heads : {4, 2, 1}) {
    const Inputs in = random_inputs(kv_heads, 6);
    const at::Tensor weight = at::randn(in.q.sizes(), kF64);
    const at::Tensor out = at::empty(in.q.sizes(), kF64);
    const at::Tensor lse = at::empty({4, 271}, kF64);
    const auto objective = [&] {
      attention_forward(in.shape, {in.starts}, in.q, in.k, in.v, out, lse);
      return (out * weight).sum().item<double>();
    };
    (void)objective();
    const at::Tensor dq = at::empty(in.q.sizes(), kF64);
    const at::Tensor dk = at::empty(in.k.sizes(), kF64);
    const at::Tensor dv = at::empty(in.k.sizes(), kF64);
    attention_backward(in.shape, {in.starts}, in.q, in.k, in.v, out, lse, weight, dq, dk, dv);
    for (const auto& [x, gradient] :
         {std::pair(in.q, dq), std::pair(in.k, dk), std::pair(in.v, dv)}) {
      const at::Tensor direction = at::randn(x.sizes(), kF64);
      const at::Tensor original = x.clone();
      x.add_(direction, 1e-6);
      const double above = objective();
      x.copy_(original).sub_(direction, 1e-6);
      const double below = objective();
      x.copy_(original);
      const double numeric = (above - below) / 2e-6;
      EXPECT_NEAR((gradient * direction).sum().item<double>(), numeric,
                  1e-6 * (1.0 + std::abs(numeric)));
    }
    // The gradients may be written over q, k and v.
    const at::Tensor q = in.q.clone();
    const at::Tensor k = in.k.clone();
    const at::Tensor v = in.v.clone();
    (void)objective();
    attention_backward(in.shape, {in.starts}, q, k, v, out, lse, weight, q, k, v);
    EXPECT_TRUE(at::equal(q, dq) && at::equal(k, dk) && at::equal(v, dv));
  }
}

// Every instruction set that is the best one somewhere has its own way for bfloat16.
TEST(Attention, GradientsOfLowerPrecisionsAgreeWithFloat64) {
  for (const std::int64_t kv_heads : {4, 2, 1}) {
    for (const std::int64_t head_dim : {7, 8, 32, 64}) {
      const Inputs exact = random_inputs(kv_heads, head_dim);
      for (const auto& [dtype, bound] :
           {std::pair(at::ScalarType::Float, 2e-6), std::pair(at::ScalarType::BFloat16, 2e-2)}) {
        const at::Tensor dout = at::randn(exact.q.sizes(), kF64).to(dtype);
        std::vector<at::Tensor> gradients;
        for (const at::ScalarType made : {dtype, kF64}) {
          // The operands are the same numbers in both.
          const auto as = [&, type = dtype](const at::Tensor& x) { return x.to(type).to(made); };
          const at::ScalarType acc = made == kF64 ? kF64 : at::ScalarType::Float;
          const at::Tensor q = as(exact.q);
          const at::Tensor k = as(exact.k);
          const at::Tensor v = as(exact.v);
          const at::Tensor out = at::empty(q.sizes(), made);
          const at::Tensor lse = at::empty({4, 271}, acc);
          attention_forward(exact.shape, {exact.starts}, q, k, v, out, lse);
          attention_backward(exact.shape, {exact.starts}, q, k, v, out, lse, as(dout), q, k, v);
          gradients.insert(gradients.end(), {q, k, v});
        }
        for (std::size_t i = 0; i < 3; ++i) {
          EXPECT_LE(max_difference(gradients[i], gradients[i + 3]),
                    bound * gradients[i + 3].abs().max().item<double>())
              << "gradient " << i << " of " << kv_heads << " key-value heads of " << head_dim;
        }
      }
    }
  }
}

TEST(CrossEntropy, LossAndGradientEqualTheDefinition) {
  const std::int64_t v = 3001;
  const at::Tensor exact = at::randn({9, v}, kF64) * 4.0;
  exact[3][17] = 90.0;  // a certain one
  const at::Tensor targets = at::randint(v, {9}, at::ScalarType::Long);
  targets[3] = 17;
  targets[5] = Batch::kIgnoredTarget;
  for (const auto& [dtype, bound] : {std::pair(kF64, 1e-13), std::pair(at::ScalarType::Float, 2e-6),
                                     std::pair(at::ScalarType::BFloat16, 1e-2)}) {
    const at::Tensor logits = exact.to(dtype);
    const at::Tensor wide = logits.to(kF64);
    const at::ScalarType acc = dtype == kF64 ? kF64 : at::ScalarType::Float;
    const at::Tensor log_p = at::log_softmax(wide, 1);
    const at::Tensor picked =
        log_p.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1) * (targets >= 0).to(kF64);
    const at::Tensor lp = at::empty({9}, acc);
    const at::Tensor greedy = at::empty({9}, at::ScalarType::Bool);
    log_probs(logits, targets, lp, greedy);
    // Only the float32 arithmetic counts here, whatever the logits' dtype.
    EXPECT_LE(max_difference(lp, picked), dtype == kF64 ? 1e-12 : 1e-5);
    EXPECT_TRUE(at::equal(greedy, wide.argmax(1) == targets));
    // In two tiles of the vocabulary.
    const at::Tensor nll = at::empty({9}, acc);
    const at::Tensor factor = at::empty({2, 9}, acc);
    const at::Tensor sum = at::empty({2, 9}, acc);
    const at::Tensor at_target = at::empty({9}, acc);
    const at::Tensor tiles[2] = {logits.narrow(1, 0, 1024).contiguous(),
                                 logits.narrow(1, 1024, v - 1024).contiguous()};
    for (const std::int64_t k : {0, 1}) {
      softmax_tile_(tiles[k], k * 1024, targets, factor[k], sum[k], at_target);
    }
    combine_tiles_(factor, sum, at_target, targets, nll);
    EXPECT_LE(max_difference(nll, -picked), dtype == kF64 ? 1e-12 : 1e-5);
    const at::Tensor counted = (targets >= 0).to(kF64).unsqueeze(1);
    const at::Tensor p = at::cat({tiles[0].to(kF64) * factor[0].to(kF64).unsqueeze(1),
                                  tiles[1].to(kF64) * factor[1].to(kF64).unsqueeze(1)},
                                 1);
    EXPECT_LE(max_difference(p, log_p.exp() * counted), bound);
    for (const std::int64_t k : {0, 1}) {
      subtract_targets_(tiles[k], k * 1024, targets, nll, at::Tensor(), factor[k]);
    }
    const at::Tensor gradient = at::cat({tiles[0].to(kF64) * factor[0].to(kF64).unsqueeze(1),
                                         tiles[1].to(kF64) * factor[1].to(kF64).unsqueeze(1)},
                                        1);
    const at::Tensor is_target = at::zeros({9, v}, kF64);
    is_target.scatter_(1, targets.clamp_min(0).unsqueeze(1), 1.0);
    EXPECT_LE(max_difference(gradient, (log_p.exp() - is_target) * counted), bound);
    // Of the certain one, too: p - 1 is small, and its relative error counts.
    const double certain = std::expm1(log_p[3][17].item<double>());
    EXPECT_LE(std::abs(gradient[3][17].item<double>() - certain),
              bound * std::abs(certain) + 1e-30);
  }
}

TEST(CrossEntropy, ATargetOfNoProbabilityHasAFiniteGradient) {
  // Tiles whose maxima lie 200 nats apart: 1 / factor of the first would overflow.
  const at::Tensor first = at::zeros({1, 8}, at::ScalarType::Float);
  const at::Tensor second = at::full({1, 8}, 200.0, at::ScalarType::Float);
  const at::Tensor targets = at::zeros({1}, at::ScalarType::Long);
  const at::Tensor factor = at::empty({2, 1}, at::ScalarType::Float);
  const at::Tensor sum = at::empty({2, 1}, at::ScalarType::Float);
  const at::Tensor at_target = at::empty({1}, at::ScalarType::Float);
  const at::Tensor nll = at::empty({1}, at::ScalarType::Float);
  softmax_tile_(first, 0, targets, factor[0], sum[0], at_target);
  softmax_tile_(second, 8, targets, factor[1], sum[1], at_target);
  combine_tiles_(factor, sum, at_target, targets, nll);
  EXPECT_NEAR(nll.item<float>(), 200.0 + std::log(8.0), 1e-4);
  EXPECT_EQ(factor[0].item<float>(), 0.0F);
  EXPECT_NEAR(factor[1].item<float>(), 0.125, 1e-6);
  subtract_targets_(first, 0, targets, nll, at::Tensor(), factor[0]);
  subtract_targets_(second, 8, targets, nll, at::Tensor(), factor[1]);
  EXPECT_EQ(factor[0].item<float>(), 1.0F);
  EXPECT_EQ(first[0][0].item<float>(), -1.0F);
  EXPECT_EQ(first[0].sum().item<float>(), -1.0F) << "the others are below rounding";
  EXPECT_NEAR(second[0][3].item<float>() * factor[1].item<float>(), 0.125, 1e-6);
}

TEST(CrossEntropy, NanIsNotHidden) {
  const at::Tensor logits = at::zeros({1, 40}, at::ScalarType::Float);
  logits[0][33] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor targets = at::zeros({1}, at::ScalarType::Long);
  const at::Tensor out = at::empty({1}, at::ScalarType::Float);
  log_probs(logits, targets, out, at::Tensor());
  EXPECT_TRUE(std::isnan(out.item<float>()));
}

// exp() of every kernel set through the softmax: two ulp over the whole range.
TEST(CrossEntropy, ExponentialsAreWithinTwoUlp) {
  for (const KernelSet& set : available_kernel_sets()) {
    std::vector<float> logits;
    for (int i = 0; i <= 87000; ++i) {
      logits.push_back(-static_cast<float>(i) / 1000.0F);
    }
    const std::vector<float> given = logits;
    float max = 0.0F;
    float sum = 0.0F;
    float at_target = 0.0F;
    set.f32.softmax_tile_row(static_cast<Index>(logits.size()), logits.data(), 1000, &max, &sum,
                             &at_target);
    EXPECT_EQ(at_target, given[1000]);
    EXPECT_EQ(max, 0.0F);
    for (std::size_t i = 1; i < logits.size(); ++i) {
      const double expected = std::exp(static_cast<double>(given[i]));
      const float ulp =
          std::nextafter(static_cast<float>(expected), 1e30F) - static_cast<float>(expected);
      ASSERT_LE(std::abs(logits[i] - expected), 2.0 * ulp) << set.isa << " at " << given[i];
    }
  }
}

// bfloat16: half a unit in the last of 8 bits, and what the shorter polynomial adds; sums are those
// of the exponentials before they are rounded.
TEST(CrossEntropy, RoundedExponentialsAreWithinHalfAUnit) {
  for (const KernelSet& set : available_kernel_sets()) {
    std::vector<Bf16> logits;
    double exact_sum = 0.0;
    std::vector<double> expected;
    for (int i = 0; i < 0x42ad; ++i) {  // all of 0 .. -86.5
      logits.push_back({static_cast<std::uint16_t>(0x8000 + i)});
      const auto bits = static_cast<std::uint32_t>(logits.back().bits) << 16;
      expected.push_back(std::exp(static_cast<double>(std::bit_cast<float>(bits))));
      exact_sum += expected.back();
    }
    float max = 0.0F;
    float sum = 0.0F;
    float at_target = 0.0F;
    set.bf16.softmax_tile_row(static_cast<Index>(logits.size()), logits.data(), -1, &max, &sum,
                              &at_target);
    EXPECT_EQ(max, 0.0F);
    EXPECT_NEAR(sum, exact_sum, 1e-6 * exact_sum) << set.isa;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const auto bits = static_cast<std::uint32_t>(logits[i].bits) << 16;
      ASSERT_NEAR(std::bit_cast<float>(bits), expected[i], (1.0 / 256 + 1e-5) * expected[i])
          << set.isa << " at " << i;
    }
  }
}

// The same exponentials and sum wherever a row lies, in whole vectors and behind them.
TEST(CrossEntropy, RowsMayLieAnywhere) {
  for (const KernelSet& set : available_kernel_sets()) {
    for (const float top : {0.0F, 1024.0F, -3.0e38F}) {
      std::vector<Bf16> logits(
          79, Bf16{static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(top) >> 16)});
      float max = 0.0F;
      float sum = 0.0F;
      float at_target = 0.0F;
      set.bf16.softmax_tile_row(79, logits.data(), -1, &max, &sum, &at_target);
      EXPECT_EQ(sum, 79.0F) << set.isa << " at " << top;
      for (const Bf16 e : logits) {
        ASSERT_EQ(e.bits, 0x3f80) << set.isa << " at " << top;
      }
    }
  }
}

// What lies below every normal number is nothing, whatever it is.
TEST(CrossEntropy, ExponentialsVanish) {
  for (const KernelSet& set : available_kernel_sets()) {
    std::vector<float> logits = {0.0F,     -87.4F, -88.0F,
                                 -1000.0F, -1e30F, -std::numeric_limits<float>::infinity()};
    float max = 0.0F;
    float sum = 0.0F;
    float at_target = 0.0F;
    set.f32.softmax_tile_row(static_cast<Index>(logits.size()), logits.data(), 0, &max, &sum,
                             &at_target);
    EXPECT_EQ(logits, (std::vector<float>{1.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F})) << set.isa;
    EXPECT_EQ(sum, 1.0F) << set.isa;
  }
}

TEST(CrossEntropy, ScaleRowsMultipliesEachRow) {
  const at::Tensor x = at::randn({5, 33}, at::ScalarType::Float);
  const at::Tensor scale = at::randn({5}, at::ScalarType::Float);
  const at::Tensor expected = x * scale.unsqueeze(1);
  scale_rows(x, scale, x);
  EXPECT_TRUE(at::equal(x, expected));
}

}  // namespace
}  // namespace growmerge::ops
