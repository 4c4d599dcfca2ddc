#include "core/transformer/transformer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/base/error.h"
#include "core/model/families.h"
#include "core/transformer/workspace.h"
#include "tests/core/tiny_model.h"
#include "tests/support/expect_error.h"

namespace growmerge {
namespace {

using testing::packed_batch;
using testing::random_params;
using testing::tiny_config;

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

Batch small_batch(std::int64_t vocab_size) {
  return packed_batch(2, 11, {5, 1, 5, 7, 4}, vocab_size, 3);
}

class Gradients : public ::testing::TestWithParam<std::tuple<bool, int, Activation>> {};

/// Every tensor along two random directions against central differences in float64.
void expect_finite_differences(const ModelConfig& config) {
  const ParamMap params = random_params(config, 0.4, 1);
  const Batch batch = small_batch(config.vocab_size);
  const ParamMap grads = params.zeros_like(at::ScalarType::Double);
  const LossResult result = loss_and_gradients(config, params, batch, 0.25, grads, {});
  EXPECT_NEAR(result.loss_sum, forward_loss(config, params, batch).loss_sum, 1e-10);
  for (const auto& [name, tensor] : params) {
    for (std::uint64_t seed = 0; seed < 2; ++seed) {
      const at::Tensor direction = random_params(config, 1.0, 77 + seed).at(name);
      const double step = 2e-6;
      const at::Tensor original = tensor.clone();
      tensor.add_(direction, step);
      const double above = forward_loss(config, params, batch).loss_sum;
      tensor.copy_(original).sub_(direction, step);
      const double below = forward_loss(config, params, batch).loss_sum;
      tensor.copy_(original);
      const double numeric = 0.25 * (above - below) / (2 * step);
      const double analytic = (grads.at(name) * direction).sum().item<double>();
      EXPECT_NEAR(analytic, numeric, 1e-7 * (1.0 + std::abs(numeric))) << name;
    }
  }
}

TEST_P(Gradients, EqualFiniteDifferences) {
  const auto [tied, kv_heads, activation] = GetParam();
  ModelConfig config = tiny_config(kv_heads, tied, activation);
  config.lm_head_normalization_factor = tied ? 2.0 : 1.0;
  expect_finite_differences(config);
}

TEST(Transformer, GradientsOfBiasesEqualFiniteDifferences) {
  ModelConfig config = tiny_config(2, true, Activation::kSilu);
  config.attention_bias = true;
  config.mlp_bias = true;
  expect_finite_differences(config);
}

/// A tiny model of a family: what its config.json says by default, with windows that are shorter
/// than the longest segment.
ModelConfig tiny_family(const Family& family) {
  ModelConfig c = family.defaults;
  const ModelConfig tiny = tiny_config(2, c.tie_word_embeddings, c.activation);
  c.vocab_size = tiny.vocab_size;
  c.hidden_size = tiny.hidden_size;
  c.intermediate_size = tiny.intermediate_size;
  c.num_layers = tiny.num_layers;
  c.num_heads = tiny.num_heads;
  c.num_kv_heads = tiny.num_kv_heads;
  c.head_dim = tiny.head_dim;
  c.max_position_embeddings = tiny.max_position_embeddings;
  if (c.sliding_window) {
    c.sliding_window = 3;
    c.use_sliding_window = has_key(family, "use_sliding_window");
    if (has_key(family, "layer_types")) {
      c.layer_types = {"sliding_attention", "full_attention"};
    }
  }
  if (has_key(family, "no_rope_layers")) {
    c.no_rope_layers = {1, 0};
  }
  if (c.attn_logit_softcapping) {
    c.attn_logit_softcapping = 1.5;
    c.final_logit_softcapping = 2.0;
  }
  if (has_key(family, "embedding_multiplier")) {
    c.embedding_multiplier = 3.0;
    c.residual_multiplier = 0.4;
    c.attention_multiplier = 0.3;
    c.logits_scaling = 2.0;
  }
  if (family.has_partial_rope) {
    c.partial_rotary_factor = 0.7;
  }
  return c;
}

TEST(Transformer, GradientsOfEveryFamilyEqualFiniteDifferences) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.architecture);
    const ModelConfig config = tiny_family(family);
    config.validate();
    expect_finite_differences(config);
  }
}

TEST(Transformer, EveryFamilyDecodesWhatItComputesAtOnce) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.architecture);
    const ModelConfig config = tiny_family(family);
    const ParamMap params = random_params(config, 0.4, 1);
    const Batch batch = packed_batch(1, 11, {11}, config.vocab_size, 3);
    const at::Tensor hidden = hidden_states(config, params, batch.tokens, batch.segment_starts);
    const at::Tensor logits = head_logits(config, params, hidden);
    Decoder decoder(config, params, 11);
    const auto* tokens = batch.tokens.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < 11; ++i) {
      const std::vector<std::int32_t> next = {static_cast<std::int32_t>(tokens[i])};
      const at::Tensor one = decoder.feed(next);
      EXPECT_LE(max_difference(one, logits.select(0, i)), 1e-5) << "position " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Gradients,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(4, 2, 1),
                                            ::testing::Values(Activation::kSilu, Activation::kGelu,
                                                              Activation::kGeluTanh)));

TEST(Transformer, PackedSegmentsEqualSeparateDocuments) {
  const ModelConfig config = tiny_config(2, true, Activation::kSilu);
  const ParamMap params = random_params(config, 0.4, 1);
  const Batch batch = small_batch(config.vocab_size);
  const at::Tensor packed = hidden_states(config, params, batch.tokens, batch.segment_starts);
  for (std::size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) {
    const std::int32_t start = batch.segment_starts[s];
    const std::int32_t length = batch.segment_starts[s + 1] - start;
    const std::vector<std::int32_t> alone = {0, length};
    const at::Tensor hidden =
        hidden_states(config, params, batch.tokens.narrow(0, start, length), alone);
    EXPECT_LE(max_difference(hidden, packed.narrow(0, start, length)), 1e-13);
  }
}

TEST(Transformer, LongSegmentsCrossAttentionBlocks) {
  const ModelConfig config = tiny_config(2, false, Activation::kSilu);
  const ParamMap params = random_params(config, 0.3, 1);
  const Batch batch = packed_batch(1, 211, {130, 64, 17}, config.vocab_size, 5);
  const ParamMap grads = params.zeros_like(at::ScalarType::Double);
  (void)loss_and_gradients(config, params, batch, 1.0, grads, {});
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight"}) {
    const at::Tensor tensor = params.at(name);
    const at::Tensor direction = random_params(config, 1.0, 7).at(name);
    const at::Tensor original = tensor.clone();
    tensor.add_(direction, 1e-5);
    const double above = forward_loss(config, params, batch).loss_sum;
    tensor.copy_(original).sub_(direction, 1e-5);
    const double below = forward_loss(config, params, batch).loss_sum;
    tensor.copy_(original);
    const double numeric = (above - below) / 2e-5;
    EXPECT_NEAR((grads.at(name) * direction).sum().item<double>(), numeric,
                1e-6 * (1.0 + std::abs(numeric)))
        << name;
  }
}

template <class T>
std::vector<T> values_of(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  return {dense.const_data_ptr<T>(), dense.const_data_ptr<T>() + dense.numel()};
}

// What CUDA is sent lies in one piece, at addresses that stay while there is room.
TEST(Transformer, ABatchIsPackedForADevice) {
  Workspace workspace;
  const Batch first = packed_batch(3, 5, {5, 2, 3, 5}, 19, 3);
  const Batch second = packed_batch(3, 5, {1, 4, 1, 1, 3, 5}, 19, 4);
  const Batch third = packed_batch(3, 5, {1, 1, 1, 1, 1, 1, 4, 5}, 19, 5);
  const void* address = nullptr;
  for (const Batch* batch : {&first, &second, &third}) {
    const DeviceBatch& sent =
        workspace.impl().upload(tiny_config(2, true, Activation::kSilu), *batch, at::kCPU);
    EXPECT_TRUE(sent.tokens.equal(batch->tokens));
    EXPECT_TRUE(sent.targets.equal(batch->targets));
    std::vector<std::int32_t> starts = batch->segment_starts;
    starts.resize(batch == &third ? 16 : 8, 15);  // padded by empty segments
    EXPECT_EQ(values_of<std::int32_t>(sent.starts), starts);
    std::vector<std::int32_t> positions;
    for (std::size_t s = 0; s + 1 < batch->segment_starts.size(); ++s) {
      for (std::int32_t i = batch->segment_starts[s]; i < batch->segment_starts[s + 1]; ++i) {
        positions.push_back(i - batch->segment_starts[s]);
      }
    }
    EXPECT_EQ(values_of<std::int32_t>(sent.positions), positions);
    EXPECT_EQ(sent.loss_sum.numel(), 3);
    if (batch == &second) {
      EXPECT_EQ(sent.packed.const_data_ptr(), address) << "there was room";
    }
    address = sent.packed.const_data_ptr();
  }
  EXPECT_ERROR(workspace.impl().upload(tiny_config(2, true, Activation::kSilu),
                                       packed_batch(3, 5, {6, 9}, 19, 6), at::kCPU),
               kMismatch, "a segment has 9 positions, a row 5");
}

TEST(Transformer, ChunkRowsDoNotMatter) {
  const ModelConfig config = tiny_config(2, true, Activation::kSilu);
  const ParamMap params = random_params(config, 0.4, 1);
  const Batch batch = small_batch(config.vocab_size);
  const ParamMap whole = params.zeros_like(at::ScalarType::Double);
  const LossResult expected = loss_and_gradients(config, params, batch, 1.0, whole, {});
  for (const std::int64_t rows : {1, 5, 22, 1000}) {
    Workspace workspace(rows);
    const ParamMap grads = params.zeros_like(at::ScalarType::Double);
    const LossResult got = loss_and_gradients(config, params, batch, 1.0, grads, {}, &workspace);
    EXPECT_NEAR(got.loss_sum, expected.loss_sum, 1e-12 * expected.loss_sum);
    for (const auto& [name, tensor] : grads) {
      EXPECT_LE(max_difference(tensor, whole.at(name)), 1e-12) << name << " in chunks of " << rows;
    }
  }
}

TEST(Transformer, RowLossesSumToTheLoss) {
  const ModelConfig config = tiny_config(2, true, Activation::kSilu);
  const ParamMap params = random_params(config, 0.4, 1);
  const Batch batch = small_batch(config.vocab_size);
  const LossResult r = forward_loss(config, params, batch);
  ASSERT_EQ(r.row_loss_sum.size(), 2U);
  EXPECT_DOUBLE_EQ(r.row_loss_sum[0] + r.row_loss_sum[1], r.loss_sum);
  EXPECT_EQ(r.row_num_targets[0], 8);
  EXPECT_EQ(r.row_num_targets[1], 9);
  EXPECT_EQ(r.num_targets, 17);
}

TEST(Transformer, LogProbsAreTheLogSoftmaxOfTheLogits) {
  for (const bool tied : {true, false}) {
    ModelConfig config = tiny_config(4, tied, Activation::kGelu);
    config.lm_head_normalization_factor = 1.5;
    const ParamMap params = random_params(config, 0.4, 1);
    const Batch batch = small_batch(config.vocab_size);
    const at::Tensor hidden = hidden_states(config, params, batch.tokens, batch.segment_starts);
    const at::Tensor logits = head_logits(config, params, hidden);
    const at::Tensor head = params.at(tied ? "model.embed_tokens.weight" : "lm_head.weight");
    EXPECT_LE(max_difference(logits, hidden.matmul((head / 1.5).t())), 1e-12);
    const at::Tensor expected =
        at::log_softmax(logits, 1).gather(1, batch.tokens.unsqueeze(1)).squeeze(1);
    at::Tensor greedy;
    Workspace workspace(7);
    const at::Tensor got =
        target_log_probs(config, params, hidden, batch.tokens, &greedy, &workspace);
    EXPECT_LE(max_difference(got, expected), 1e-12);
    EXPECT_TRUE(at::equal(greedy, logits.argmax(1) == batch.tokens));
  }
}

TEST(Transformer, DecoderEqualsTheFullForward) {
  const ModelConfig config = tiny_config(2, true, Activation::kSilu);
  const ParamMap params = random_params(config, 0.4, 1).to(at::ScalarType::Float);
  const Batch batch = packed_batch(1, 90, {90}, config.vocab_size, 3);
  const at::Tensor logits = head_logits(
      config, params, hidden_states(config, params, batch.tokens, batch.segment_starts));
  Decoder decoder(config, params, 90);
  const auto* tokens = batch.tokens.const_data_ptr<std::int64_t>();
  for (int round = 0; round < 2; ++round) {
    std::int64_t fed = 0;
    for (const std::int64_t count : {70, 1, 1, 3, 15}) {
      std::vector<std::int32_t> next(tokens + fed, tokens + fed + count);
      const at::Tensor got = decoder.feed(next);
      fed += count;
      EXPECT_LE(max_difference(got, logits[fed - 1]), 1e-5) << fed;
    }
    const std::vector<std::int32_t> more = {1};
    EXPECT_THROW((void)decoder.feed(more), Error);
    decoder.reset();
  }
}

TEST(Transformer, GradientsAreReportedOnceFromTheHeadDown) {
  for (const bool tied : {true, false}) {
    const ModelConfig config = tiny_config(2, tied, Activation::kSilu);
    const ParamMap params = random_params(config, 0.4, 1);
    const Batch batch = small_batch(config.vocab_size);
    const ParamMap expected = params.zeros_like(at::ScalarType::Double);
    (void)loss_and_gradients(config, params, batch, 1.0, expected, {});
    const ParamMap grads = params.zeros_like(at::ScalarType::Double);
    std::vector<std::string> order;
    // A reported gradient is final already, and nothing is added to it afterwards.
    (void)loss_and_gradients(config, params, batch, 1.0, grads, [&](const std::string& name) {
      order.push_back(name);
      EXPECT_TRUE(at::equal(grads.at(name), expected.at(name))) << name;
    });
    std::vector<std::string> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    std::vector<std::string> names = params.names();
    std::sort(names.begin(), names.end());
    EXPECT_EQ(sorted, names);
    EXPECT_EQ(order.front(), tied ? "model.norm.weight" : "lm_head.weight");
    EXPECT_EQ(order.back(), "model.embed_tokens.weight");
  }
}

TEST(Transformer, GradientsAreAddedToWhatIsThere) {
  const ModelConfig config = tiny_config(1, true, Activation::kSilu);
  const ParamMap params = random_params(config, 0.4, 1);
  const Batch batch = small_batch(config.vocab_size);
  Workspace workspace;
  const ParamMap once = params.zeros_like(at::ScalarType::Double);
  (void)loss_and_gradients(config, params, batch, 1.0, once, {}, &workspace);
  const ParamMap twice = params.zeros_like(at::ScalarType::Double);
  (void)loss_and_gradients(config, params, batch, 1.0, twice, {}, &workspace);
  (void)loss_and_gradients(config, params, batch, 1.0, twice, {}, &workspace);
  for (const auto& [name, tensor] : once) {
    EXPECT_LE(max_difference(tensor * 2, twice.at(name)), 1e-12) << name;
  }
}

TEST(Transformer, TheSameInputsGiveTheSameBits) {
  const ModelConfig config = tiny_config(2, true, Activation::kSilu);
  for (const at::ScalarType dtype : {at::ScalarType::Float, at::ScalarType::BFloat16}) {
    const ParamMap params = random_params(config, 0.4, 1).to(dtype);
    const Batch batch = packed_batch(4, 100, {100, 30, 70, 1, 99, 100}, config.vocab_size, 5);
    const ParamMap first = params.zeros_like(at::ScalarType::Float);
    const LossResult expected = loss_and_gradients(config, params, batch, 1.0, first, {});
    Workspace workspace;
    for (int repeat = 0; repeat < 3; ++repeat) {
      const ParamMap again = params.zeros_like(at::ScalarType::Float);
      const LossResult got = loss_and_gradients(config, params, batch, 1.0, again, {}, &workspace);
      EXPECT_EQ(got.loss_sum, expected.loss_sum);
      for (const auto& [name, tensor] : again) {
        EXPECT_TRUE(at::equal(tensor, first.at(name))) << name;
      }
    }
  }
}

// A workspace that has served a larger batch gives a smaller one a part of its buffers.
TEST(Transformer, ASmallerBatchUsesAPartOfTheWorkspaceAndGivesTheSameBits) {
  const ModelConfig config = tiny_config(2, false, Activation::kSilu);
  for (const at::ScalarType dtype : {at::ScalarType::Float, at::ScalarType::BFloat16}) {
    const ParamMap params = random_params(config, 0.4, 1).to(dtype);
    const Batch large = packed_batch(4, 100, {100, 30, 70, 1, 99, 100}, config.vocab_size, 5);
    const Batch small = packed_batch(2, 37, {37, 5, 32}, config.vocab_size, 6);
    const auto train = [&](const Batch& batch, Workspace* workspace) {
      const ParamMap grads = params.zeros_like(at::ScalarType::Float);
      (void)loss_and_gradients(config, params, batch, 1.0, grads, {}, workspace);
      return grads;
    };
    const auto score = [&](const Batch& batch, Workspace* workspace) {
      const at::Tensor hidden =
          hidden_states(config, params, batch.tokens, batch.segment_starts, workspace);
      return target_log_probs(config, params, hidden, batch.tokens, nullptr, workspace);
    };
    Workspace workspace;
    (void)train(large, &workspace);
    (void)score(large, &workspace);
    (void)forward_loss(config, params, large, &workspace);
    const std::int64_t held = workspace.bytes();
    const ParamMap expected = train(small, nullptr);
    for (const auto& [name, tensor] : train(small, &workspace)) {
      EXPECT_TRUE(at::equal(tensor, expected.at(name))) << name;
    }
    EXPECT_TRUE(at::equal(score(small, &workspace), score(small, nullptr)));
    EXPECT_EQ(forward_loss(config, params, small, &workspace).loss_sum,
              forward_loss(config, params, small).loss_sum);
    EXPECT_EQ(workspace.bytes(), held) << "nothing was reallocated";
    EXPECT_TRUE(at::equal(score(large, &workspace), score(large, nullptr)));
    EXPECT_EQ(workspace.bytes(), held);
  }
}

// Single precision stays within a few units of rounding of float64, bfloat16 within its own.
TEST(Transformer, LowerPrecisionsAgreeWithFloat64) {
  for (const Activation activation : {Activation::kSilu, Activation::kGelu}) {
    const ModelConfig config = tiny_config(2, true, activation);
    const ParamMap exact =
        random_params(config, 0.3, 1).to(at::ScalarType::BFloat16).to(at::ScalarType::Double);
    const Batch batch = packed_batch(4, 100, {100, 30, 70, 1, 99, 100}, config.vocab_size, 5);
    const ParamMap expected = exact.zeros_like(at::ScalarType::Double);
    const LossResult loss = loss_and_gradients(config, exact, batch, 0.01, expected, {});
    for (const auto& [dtype, loss_bound, gradient_bound] :
         {std::tuple(at::ScalarType::Float, 1e-6, 2e-5),
          std::tuple(at::ScalarType::BFloat16, 5e-3, 5e-2)}) {
      const ParamMap params = exact.to(dtype);
      const ParamMap grads = exact.zeros_like(at::ScalarType::Float);
      const LossResult got = loss_and_gradients(config, params, batch, 0.01, grads, {});
      EXPECT_NEAR(got.loss_sum, loss.loss_sum, loss_bound * loss.loss_sum);
      for (const auto& [name, tensor] : grads) {
        const at::Tensor wanted = expected.at(name);
        const double error = (tensor - wanted).norm().item<double>();
        EXPECT_LE(error, gradient_bound * wanted.norm().item<double>()) << name;
      }
    }
  }
}

TEST(Transformer, BadInputIsRefusedByName) {
  const ModelConfig config = tiny_config(2, true, Activation::kSilu);
  const ParamMap params = random_params(config, 0.4, 1);
  Batch batch = small_batch(config.vocab_size);
  batch.tokens[4] = config.vocab_size;
  EXPECT_NE(
      testing::error_of(ErrorCode::kMismatch, [&] { (void)forward_loss(config, params, batch); })
          .find("id 19 at position 4"),
      std::string::npos);
  batch = small_batch(config.vocab_size);
  batch.segment_starts.back() = 21;
  EXPECT_NE(
      testing::error_of(ErrorCode::kMismatch, [&] { (void)forward_loss(config, params, batch); })
          .find("segment_starts"),
      std::string::npos);
  batch = small_batch(config.vocab_size);
  ParamMap wrong = params.clone();
  wrong.set("model.layers.1.mlp.up_proj.weight", at::zeros({3, 12}, at::ScalarType::Double));
  EXPECT_NE(
      testing::error_of(ErrorCode::kMismatch, [&] { (void)forward_loss(config, wrong, batch); })
          .find("model.layers.1.mlp.up_proj.weight"),
      std::string::npos);
  const ParamMap half = params.to(at::ScalarType::Half);
  EXPECT_NE(
      testing::error_of(ErrorCode::kUnsupported, [&] { (void)forward_loss(config, half, batch); })
          .find("Half"),
      std::string::npos);
}

TEST(Transformer, ActivationBytesIsWhatTheWorkspaceHolds) {
  ModelConfig config = tiny_config(2, true, Activation::kSilu);
  config.vocab_size = 1000;
  config.hidden_size = 64;
  config.intermediate_size = 200;
  config.max_position_embeddings = 256;
  const ParamMap params = random_params(config, 0.1, 1).to(at::ScalarType::Float);
  const Batch batch = packed_batch(8, 256, std::vector<std::int32_t>(8, 256), 1000, 5);
  const ParamMap grads = params.zeros_like(at::ScalarType::Float);
  Workspace workspace;
  (void)loss_and_gradients(config, params, batch, 1.0, grads, {}, &workspace);
  const auto held = static_cast<double>(workspace.bytes());
  const auto said = static_cast<double>(activation_bytes(config, 2048, at::ScalarType::Float));
  EXPECT_GE(said, held);
  EXPECT_LE(said, 1.1 * held);
  workspace.release();
  EXPECT_EQ(workspace.bytes(), 0);
}

}  // namespace
}  // namespace growmerge
