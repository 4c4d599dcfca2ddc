// Operators on rows: the CUDA twin against the CPU's. Linked into the emulated and the device's
// test.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <string>

#include "core/base/error.h"
#include "core/contracts/batch_source.h"
#include "core/ops/dispatch.h"
#include "tests/core/ops/cuda/device_under_test.h"

namespace growmerge::ops::cuda {
namespace {

at::Tensor random(std::vector<std::int64_t> sizes, at::ScalarType dtype) {
  return at::randn(sizes, at::kDouble).to(dtype);
}

/// Odd rows, rows that divide into 16 bytes, rows of several packs a thread.
constexpr std::int64_t kWidths[] = {1, 37, 64, 520, 2056, 4101};

TEST_F(CudaOpsTest, AddRmsNorm) {
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const std::int64_t d : kWidths) {
      for (const bool with_delta : {true, false}) {
        const std::string what = concat("rows of ", d, " in ", c10::toString(dtype));
        const at::Tensor x = random({3, d}, dtype);
        const at::Tensor delta = with_delta ? random({3, d}, dtype) : at::Tensor();
        const at::Tensor gain = random({d}, dtype);
        const at::Tensor sum = x.clone();
        const at::Tensor y = at::empty({3, d}, dtype);
        const at::Tensor rstd = at::empty({3}, acc_dtype(dtype));
        const double offset = with_delta ? 1.0 : 0.0;
        add_rms_norm(sum, delta, {gain, offset}, 1e-5, with_delta ? sum : at::Tensor(), y, rstd);
        const at::Tensor again = at::empty({3, d}, dtype);
        apply_rms_norm(sum, {gain, offset}, rstd, again);
        const auto got = outputs([&] {
          const at::Tensor s = there(x);  // `sum` may be x
          const at::Tensor out = there(at::zeros({3, d}, dtype));
          const at::Tensor r = there(at::zeros({3}, rstd.scalar_type()));
          twin().add_rms_norm(s, there(delta), {there(gain), offset}, 1e-5,
                              with_delta ? s : at::Tensor(), out, r);
          const at::Tensor applied = there(at::zeros({3, d}, dtype));
          twin().apply_rms_norm(s, {there(gain), offset}, r, applied);
          return std::vector{s, out, r, applied};
        });
        expect_same(got[0], sum, "the sum, " + what);
        expect_close(got[1], y, rtol, "y, " + what);
        // A row's squares are summed in another order, one behind another in builds without
        // optimisation.
        expect_close(got[2], rstd, dtype == at::kDouble ? 1e-13 : 2e-5, "rstd, " + what);
        expect_same(got[3], got[1], "y again, " + what);
      }
    }
  }
}

TEST_F(CudaOpsTest, RmsNormBackward) {
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const std::int64_t d : kWidths) {
      // Parts of unequal length; more parts than a block of the sum has warps.
      const std::int64_t rows = d == 37 ? 323 : 19;
      const double offset = d % 2 == 0 ? 1.0 : 0.0;
      const std::string what = concat(rows, " rows of ", d, " in ", c10::toString(dtype));
      const at::Tensor x = random({rows, d}, dtype);
      const at::Tensor dy = random({rows, d}, dtype);
      const at::Tensor gain = random({d}, dtype);
      const at::Tensor rstd =
          (x.to(at::kDouble).pow(2).mean(1) + 1e-5).rsqrt().to(acc_dtype(dtype));
      const at::Tensor dx = random({rows, d}, dtype);
      const at::Tensor dgain = random({d}, rstd.scalar_type());
      const auto got = outputs([&] {
        const at::Tensor out = there(dx);
        const at::Tensor out_gain = there(dgain);
        twin().rms_norm_backward(there(dy), there(x), {there(gain), offset}, there(rstd), out,
                                 out_gain);
        return std::vector{out, out_gain};
      });
      rms_norm_backward(dy, x, {gain, offset}, rstd, dx, dgain);
      expect_close(got[0], dx, rtol, "dx, " + what);
      expect_close(got[1], dgain, dtype == at::kDouble ? 1e-12 : 2e-5, "dgain, " + what);
    }
  }
}

TEST_F(CudaOpsTest, Rope) {
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const auto& [head_dim, part] : std::vector<std::pair<std::int64_t, double>>{{2, 1.0},
                                                                                     {6, 1.0},
                                                                                     {16, 1.0},
                                                                                     {64, 1.0},
                                                                                     {80, 1.0},
                                                                                     {12, 0.5},
                                                                                     {32, 0.5},
                                                                                     {24, 0.75}}) {
      ModelConfig config;
      config.head_dim = head_dim;
      config.rope.theta = 10000.0;
      config.partial_rotary_factor = part;
      const RopeTable table = make_rope_table(config.rope, config.rotary_dim(), 50);
      const at::Tensor positions = at::randint(50, {7}, at::kInt);
      const at::Tensor x = random({7, 3 * head_dim}, dtype);
      for (const bool inverse : {false, true}) {
        const auto got = outputs([&] {
          const at::Tensor out = there(x);
          twin().rope_(out, head_dim, {there(table.cos), there(table.sin)}, there(positions),
                       inverse);
          return std::vector{out};
        });
        const at::Tensor expected = x.clone();
        rope_(expected, head_dim, table, positions, inverse);
        expect_close(
            got[0], expected, rtol,
            concat(config.rotary_dim(), " of heads of ", head_dim, " in ", c10::toString(dtype)));
      }
    }
  }
}

TEST_F(CudaOpsTest, GatedMlp) {
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const Activation activation :
         {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
      for (const std::int64_t n : {1, 7, 1024, 3003}) {
        for (const std::int64_t offset : {0, 1}) {  // an address that is no multiple of 16 bytes
          const std::string what =
              concat(n, " elements from ", offset, " in ", c10::toString(dtype), ", activation ",
                     static_cast<int>(activation));
          const auto part = [&](const at::Tensor& x) { return x.narrow(0, offset, n); };
          // From -20 on, so that tails are met, too.
          const at::Tensor gate = 6.0 * random({n + offset}, dtype);
          const at::Tensor up = random({n + offset}, dtype);
          const at::Tensor dout = random({n + offset}, dtype);
          const auto got = outputs([&] {
            const at::Tensor out = there(at::zeros({n + offset}, dtype));
            const at::Tensor g = there(gate);
            const at::Tensor u = there(up);
            const at::Tensor d = there(dout);
            twin().gated_forward(activation, part(g), part(u), part(out));
            twin().gated_backward_(activation, part(g), part(u), part(d));
            return std::vector{out, g, u, d};
          });
          const at::Tensor out = at::zeros({n + offset}, dtype);
          gated_forward(activation, part(gate), part(up), part(out));
          gated_backward_(activation, part(gate), part(up), part(dout));
          expect_close(got[0], out, rtol, "out, " + what);
          expect_close(got[1], gate, rtol, "dgate, " + what);
          expect_close(got[2], up, rtol, "dup, " + what);
          expect_close(got[3], dout, rtol, "out again, " + what);
        }
      }
    }
  }
}

TEST_F(CudaOpsTest, GatedMlpOfMoreElementsThanThreads) {
  const std::int64_t n = (1 << 18) + 300;
  const at::Tensor gate = at::randn({n + 1}, at::kFloat);
  const at::Tensor up = at::randn({n + 1}, at::kFloat);
  const auto got = outputs([&] {
    const at::Tensor out = there(at::zeros({n + 1}, at::kFloat));
    twin().gated_forward(Activation::kSilu, there(gate).narrow(0, 1, n), there(up).narrow(0, 1, n),
                         out.narrow(0, 1, n));
    return std::vector{out};
  });
  const at::Tensor out = at::zeros({n + 1}, at::kFloat);
  gated_forward(Activation::kSilu, gate.narrow(0, 1, n), up.narrow(0, 1, n), out.narrow(0, 1, n));
  expect_close(got[0], out, 5e-6, "out");
}

/// Targets of which some are ignored.
at::Tensor some_targets(std::int64_t n, std::int64_t vocab) {
  const at::Tensor targets = at::randint(vocab, {n}, at::kLong);
  for (std::int64_t i = 1; i < n; i += 4) {
    targets[i] = Batch::kIgnoredTarget;
  }
  return targets;
}

TEST_F(CudaOpsTest, SoftmaxInTiles) {
  constexpr std::int64_t kRows = 6;
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const auto& [vocab, columns] :
         {std::pair{1003, 256}, {1024, 1024}, {37, 37}, {9000, 9000}}) {
      const std::string what = concat(vocab, " by ", columns, " in ", c10::toString(dtype));
      const at::ScalarType acc = acc_dtype(dtype);
      const at::Tensor targets = some_targets(kRows, vocab);
      const std::int64_t tiles = (vocab + columns - 1) / columns;
      std::vector<at::Tensor> logits;
      for (std::int64_t first = 0; first < vocab; first += columns) {
        logits.push_back(4.0 *
                         random({kRows, std::min<std::int64_t>(columns, vocab - first)}, dtype));
      }
      const at::Tensor slopes = random({kRows}, acc);
      const auto compute = [&](const auto& tile_fn, const auto& combine_fn, const auto& subtract_fn,
                               const auto& place) {
        const at::Tensor max = place(at::zeros({tiles, kRows}, acc));
        const at::Tensor sum = place(at::zeros({tiles, kRows}, acc));
        const at::Tensor at_target = place(at::zeros({kRows}, acc));
        const at::Tensor nll = place(at::zeros({kRows}, acc));
        const at::Tensor placed_targets = place(targets);
        std::vector<at::Tensor> results;
        for (std::int64_t k = 0; k < tiles; ++k) {
          const at::Tensor tile = place(logits[static_cast<std::size_t>(k)]);
          tile_fn(tile, k * columns, placed_targets, max.select(0, k), sum.select(0, k), at_target);
          results.push_back(tile);
        }
        combine_fn(max, sum, at_target, placed_targets, nll);
        results.insert(results.end(), {sum, at_target, max.clone(), nll});
        const at::Tensor slope = columns > 256 ? place(slopes) : at::Tensor();
        for (std::int64_t k = 0; k < tiles; ++k) {
          const at::Tensor grads = results[static_cast<std::size_t>(k)].clone();
          subtract_fn(grads, k * columns, placed_targets, nll, slope, max.select(0, k));
          results.push_back(grads * max.select(0, k).unsqueeze(1));
        }
        return results;
      };
      const auto got = outputs([&] {
        return compute(*twin().softmax_tile_, *twin().combine_tiles_, *twin().subtract_targets_,
                       there);
      });
      const auto expected = compute(softmax_tile_, combine_tiles_, subtract_targets_,
                                    [](const at::Tensor& x) { return x.clone(); });
      ASSERT_EQ(got.size(), expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        const auto count = static_cast<std::size_t>(tiles);
        const bool is_tile = i < count || i >= count + 4;  // rounded to their type
        expect_close(got[i], expected[i],
                     is_tile                ? rtol
                     : dtype == at::kDouble ? 1e-12
                                            : 1e-5,
                     concat("output ", i, ", ", what));
      }
    }
  }
}

TEST_F(CudaOpsTest, ScaledRows) {
  constexpr std::int64_t kRows = 9;
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const std::int64_t d : {5, 64, 300}) {
      const std::string what = concat("rows of ", d, " in ", c10::toString(dtype));
      const at::Tensor x = random({kRows, d}, dtype);
      const at::Tensor scale = random({kRows}, acc_dtype(dtype));
      const at::Tensor dx = random({kRows, d}, acc_dtype(dtype));
      const auto got = outputs([&] {
        const at::Tensor y = there(x);  // y may be x
        twin().scale_rows(y, there(scale), y);
        const at::Tensor added = there(dx);
        twin().add_scaled_rows(there(x), there(scale), added);
        return std::vector{y, added};
      });
      const at::Tensor y = at::zeros({kRows, d}, dtype);
      scale_rows(x, scale, y);
      add_scaled_rows(x, scale, dx);
      const double exact = dtype == at::kDouble ? 1e-14 : 1e-6;
      expect_close(got[0], y, rtol, "y, " + what);
      expect_close(got[1], dx, exact, "sum, " + what);
    }
  }
}

TEST_F(CudaOpsTest, LogProbs) {
  constexpr std::int64_t kRows = 8;
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const std::int64_t vocab : {11, 1024, 3001, 9000}) {
      const std::string what = concat("rows of ", vocab, " in ", c10::toString(dtype));
      const at::Tensor logits = 3.0 * random({kRows, vocab}, dtype);
      const at::Tensor targets = some_targets(kRows, vocab);
      // The maximum: alone, behind an equal one, before an equal one.
      for (const std::int64_t row : {2, 3, 4}) {
        logits[row][6] = 50.0;
        targets[row] = 6;
      }
      logits[3][4] = 50.0;
      logits[4][9] = 50.0;
      const at::ScalarType acc = acc_dtype(dtype);
      const auto got = outputs([&] {
        const at::Tensor out = there(at::zeros({kRows}, acc));
        const at::Tensor greedy = there(at::zeros({kRows}, at::kBool));
        twin().log_probs(there(logits), there(targets), out, greedy);
        const at::Tensor alone = there(at::zeros({kRows}, acc));
        twin().log_probs(there(logits), there(targets), alone, at::Tensor());
        return std::vector{out, greedy, alone};
      });
      const at::Tensor out = at::zeros({kRows}, acc);
      const at::Tensor greedy = at::zeros({kRows}, at::kBool);
      log_probs(logits, targets, out, greedy);
      EXPECT_TRUE(greedy[2].item<bool>() && !greedy[3].item<bool>() && greedy[4].item<bool>());
      expect_close(got[0], out, dtype == at::kDouble ? 1e-12 : 1e-5, "log p, " + what);
      expect_same(got[1], greedy, "greedy, " + what);
      expect_same(got[2], got[0], "log p alone, " + what);
    }
  }
}

TEST_F(CudaOpsTest, Embedding) {
  constexpr std::int64_t kVocab = 50;
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const std::int64_t d : {3, 64, 1048}) {
      const std::string what = concat("rows of ", d, " in ", c10::toString(dtype));
      // Token 7 fills a long run; the last of the vocabulary is there, some targets are ignored.
      const at::Tensor tokens = at::cat(
          {at::randint(kVocab, {31}, at::kLong), at::full({13}, 7, at::kLong),
           at::full({2}, Batch::kIgnoredTarget, at::kLong), at::full({1}, kVocab - 1, at::kLong)});
      const at::Tensor table = random({kVocab, d}, dtype);
      const at::Tensor dx = random({tokens.numel(), d}, dtype);
      const at::Tensor dtable = random({kVocab, d}, acc_dtype(dtype));
      const at::Tensor positive = tokens.clamp(0);
      const auto got = outputs([&] {
        const at::Tensor x = there(at::zeros({tokens.numel(), d}, dtype));
        twin().embedding_forward(there(positive), there(table), x);
        const at::Tensor out = there(dtable);
        twin().embedding_backward(there(tokens), there(dx), out);
        return std::vector{x, out};
      });
      const at::Tensor x = at::zeros({tokens.numel(), d}, dtype);
      embedding_forward(positive, table, x);
      embedding_backward(tokens, dx, dtable);
      expect_same(got[0], x, "x, " + what);
      // The same additions in the same order.
      expect_same(got[1], dtable, "dtable, " + what);
    }
  }
}

TEST_F(CudaOpsTest, RowLosses) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::int64_t row_tokens : {1, 32, 333}) {
      const at::Tensor nll = random({3 * row_tokens}, dtype).abs();
      const at::Tensor targets = some_targets(3 * row_tokens, 100);
      const auto got = outputs([&] {
        const at::Tensor sums = there(at::full({3}, 9.0, at::kDouble));
        const at::Tensor counts = there(at::full({3}, 9, at::kLong));
        twin().row_losses(there(nll), there(targets), row_tokens, sums, counts);
        return std::vector{sums, counts};
      });
      const at::Tensor sums = at::empty({3}, at::kDouble);
      const at::Tensor counts = at::empty({3}, at::kLong);
      row_losses(nll, targets, row_tokens, sums, counts);
      expect_close(got[0], sums, 1e-14, "sums");
      expect_same(got[1], counts, "counts");
    }
  }
}

}  // namespace
}  // namespace growmerge::ops::cuda
