#include "core/transformer/head.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"
#include "core/contracts/batch_source.h"
#include "tests/core/tiny_model.h"

namespace growmerge::transformer {
namespace {

constexpr std::int64_t kVocab = 2000;  // three tiles of a chunk of 4096 rows
constexpr std::int64_t kChunkRows = 4096;
constexpr std::int64_t kWidth = 16;
constexpr std::int64_t kTarget = 1500;
constexpr std::int64_t kRival = 3;

/// One position of each probability of its target, against one rival. Logits are exact in bfloat16:
/// the first two columns of the head. Columns 2 to 7 belong to the hidden states and the others to
/// the head alone, so that both gradients are full and no product rounds a logit.
struct Case {
  explicit Case(const std::vector<double>& gaps, double cap) {
    at::manual_seed(1);
    const auto n = static_cast<std::int64_t>(gaps.size());
    hidden = at::zeros({n, kWidth}, at::kDouble);
    hidden.narrow(1, 2, 6).copy_(at::randn({n, 6}, at::kDouble));
    hidden.select(1, 1).fill_(1.0);
    head = at::zeros({kVocab, kWidth}, at::kDouble);
    head.narrow(1, 8, 8).copy_(at::randn({kVocab, 8}, at::kDouble));
    head.select(1, 1).fill_(cap > 0.0 ? -60.0 : -30.0);
    head[kTarget][0] = 1.0;
    head[kTarget][1] = 0.0;
    head[kRival][1] = 0.0;
    targets = at::full({n}, kTarget, at::kLong);
    for (std::int64_t i = 0; i < n; ++i) {
      hidden[i][0] = gaps[static_cast<std::size_t>(i)];  // the target's logit; the rival's is 0
    }
    hidden = hidden.to(at::kBFloat16);
    head = head.to(at::kBFloat16);
  }
  at::Tensor hidden, head, targets;
};

double relative_error(const at::Tensor& got, const at::Tensor& exact) {
  return ((got.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

/// dhidden and dW of each position alone against float64 on the same numbers.
void expect_close_gradients(at::ScalarType dtype, double cap, double bound) {
  const std::vector<double> gaps = {0.0, 2.203125, 4.59375, 6.90625, 9.1875};
  const Case c(gaps, cap);
  ModelConfig config = testing::tiny_config(2, false, Activation::kSilu);
  config.vocab_size = kVocab;
  config.hidden_size = kWidth;
  config.tie_word_embeddings = false;
  if (cap > 0.0) {
    config.final_logit_softcapping = cap;
  }
  Buffers b = make_buffers(
      config, {.num_positions = 1, .chunk_rows = kChunkRows, .training = true, .dtype = dtype});
  ModelParams p;
  p.head = c.head.to(dtype);
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    const at::Tensor x = c.hidden.narrow(0, row, 1).to(dtype);
    b.norm.copy_(x);
    const at::Tensor dhead = at::zeros({kVocab, kWidth}, at::kFloat);
    head_backward(config, p, c.targets.narrow(0, row, 1), 1.0, b, dhead);

    const at::Tensor wide = c.head.to(at::kDouble);
    at::Tensor logits = x.to(at::kDouble).mm(wide.t());
    at::Tensor slope = at::ones_like(logits);
    if (cap > 0.0) {
      logits = (logits / cap).tanh() * cap;
      slope = 1.0 - (logits / cap) * (logits / cap);
    }
    at::Tensor g = at::softmax(logits, 1);
    const double p_target = g[0][kTarget].item<double>();
    g[0][kTarget] = std::expm1(at::log_softmax(logits, 1)[0][kTarget].item<double>());
    g = g * slope;
    SCOPED_TRACE(concat("p = ", p_target, ", cap ", cap));
    EXPECT_LE(relative_error(b.delta, g.mm(wide)), bound);
    const at::Tensor dw = g.t().mm(x.to(at::kDouble));
    EXPECT_LE(relative_error(dhead, dw), bound);
    EXPECT_LE(relative_error(dhead[kTarget], dw[kTarget]), bound);
  }
}

TEST(HeadGradient, IsAsExactAsBfloat16WhereTheTargetIsNearlyCertain) {
  expect_close_gradients(at::kBFloat16, 0.0, 0x1p-7);
}

TEST(HeadGradient, InFloat32AlsoThroughACap) {
  expect_close_gradients(at::kFloat, 0.0, 1e-5);
  // In bfloat16 a cap rounds the logits themselves.
  expect_close_gradients(at::kFloat, 30.0, 1e-4);
}

}  // namespace
}  // namespace growmerge::transformer
