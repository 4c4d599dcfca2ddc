#include "core/transformer/head.h"

#include <ATen/ops/mul.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <vector>

#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/linear.h"

namespace growmerge::transformer {
namespace {

// Of a chunk of logits: large enough that the head is read seldom, small beside the activations.
constexpr std::int64_t kChunkBytes = 1024 * 49152 * 4;
// Of a tile: it should still be in the outer cache when backward comes back to it.
constexpr std::int64_t kTileBytes = 1024 * 2048 * 4;
// A device has the memory, and its products want many rows.
constexpr std::int64_t kCudaChunkBytes = 512'000'000;

/// The division of logits, done to the hidden states: [C, d] instead of [C, V].
void divide_by_factor(const ModelConfig& config, const at::Tensor& hidden_CD,
                      at::Tensor scaled_CD) {
  // A scalar in host memory, which CUDA kernels take as an argument.
  at::mul_out(scaled_CD, hidden_CD,
              at::scalar_tensor(1.0 / config.head_divisor(), hidden_CD.options().device(at::kCPU)));
}

/// Products become logits: c tanh(l / c) where there is a cap, in the steps that Transformers
/// takes.
void cap_logits_(const ModelConfig& config, const at::Tensor& logits) {
  if (const std::optional<double> cap = config.final_logit_softcapping) {
    logits.div_(*cap).tanh_().mul_(*cap);
  }
}

/// What the gradient of capped logits is multiplied by: 1 - (l / c)^2.
at::Tensor cap_slope(const at::Tensor& logits, double cap) {
  const at::Tensor s = logits.div(cap).clamp_(-1.0, 1.0);
  return s.mul_(s).neg_().add_(1.0);
}

/// exps [C, T] = exp(l - max) are multiplied by the slope of the cap at l, which they still tell:
/// where one of them is 0, so is what comes out. max [C].
void through_cap_(const at::Tensor& exps_CT, const at::Tensor& max_C, double cap) {
  constexpr std::int64_t kElements = 1 << 22;  // at a time, in the type of sums
  const std::int64_t step = std::max<std::int64_t>(1, kElements / exps_CT.size(1));
  for (std::int64_t begin = 0; begin < exps_CT.size(0); begin += step) {
    const std::int64_t rows = std::min(step, exps_CT.size(0) - begin);
    const at::Tensor exps = exps_CT.narrow(0, begin, rows);
    const at::Tensor logits = exps.to(max_C.scalar_type(), /*non_blocking=*/false, /*copy=*/true)
                                  .log_()
                                  .add_(max_C.narrow(0, begin, rows).unsqueeze(1));
    exps.mul_(cap_slope(logits, cap));
  }
}

/// One chunk of positions of the head.
struct HeadChunk {
  at::Tensor hidden;      // [C, d]
  at::Tensor targets;     // [C]
  std::int64_t rows = 0;  // C
};

/// Columns [first, first + columns) of the vocabulary: a tile's share of the chunk's logits, which
/// lie one tile behind another.
struct HeadTile {
  std::int64_t first = 0;
  at::Tensor logits;   // [C, T]
  at::Tensor weight;   // [T, d] rows of the head
  at::Tensor dweight;  // [T, d]
};

std::vector<HeadTile> tiles_of(std::int64_t columns, std::int64_t rows, const at::Tensor& head,
                               const at::Tensor& dhead, const at::Tensor& logits) {
  std::vector<HeadTile> tiles;
  const std::int64_t vocab = head.size(0);
  for (std::int64_t first = 0; first < vocab; first += columns) {
    const std::int64_t width = std::min(columns, vocab - first);
    tiles.push_back({first,
                     logits.view({-1}).narrow(0, first * rows, width * rows).view({rows, width}),
                     head.narrow(0, first, width), dhead.narrow(0, first, width)});
  }
  return tiles;
}

/// Negative log-likelihoods to nll [C]. The tiles' logits [C, T] become exponentials exp(l - max of
/// the tile) (times the slope of a cap), max_KC [V / T, C] the factors that make them
/// probabilities: one pass over the logits, while each tile is in cache (online softmax, arXiv
/// 1805.02867).
void head_forward_chunk(const ModelConfig& config, const HeadChunk& chunk,
                        const std::vector<HeadTile>& tiles, Buffers& b, const at::Tensor& max_KC,
                        const at::Tensor& sum_KC, const at::Tensor& nll) {
  at::Tensor input = chunk.hidden;
  const at::Tensor at_target = b.at_target.narrow(0, 0, chunk.rows);
  if (config.head_divisor() != 1.0) {
    input = b.scaled.narrow(0, 0, chunk.rows);
    divide_by_factor(config, chunk.hidden, input);
  }
  for (std::size_t k = 0; k < tiles.size(); ++k) {
    const auto row = static_cast<std::int64_t>(k);
    ops::linear_forward(input, tiles[k].weight, tiles[k].logits);
    cap_logits_(config, tiles[k].logits);
    ops::softmax_tile_(tiles[k].logits, tiles[k].first, chunk.targets, max_KC.select(0, row),
                       sum_KC.select(0, row), at_target);
    if (config.final_logit_softcapping) {
      through_cap_(tiles[k].logits, max_KC.select(0, row), *config.final_logit_softcapping);
    }
  }
  ops::combine_tiles_(max_KC, sum_KC, at_target, chunk.targets, nll);
}

/// The tiles' exponentials, times factor [V / T, C], become the gradients of nll [C].
void make_gradients_(const ModelConfig& config, const HeadChunk& chunk,
                     const std::vector<HeadTile>& tiles, const Buffers& b,
                     const at::Tensor& factor_KC, const at::Tensor& nll) {
  at::Tensor slope;
  if (const std::optional<double> cap = config.final_logit_softcapping) {
    slope = cap_slope(b.at_target.narrow(0, 0, chunk.rows), *cap);
  }
  for (std::size_t k = 0; k < tiles.size(); ++k) {
    ops::subtract_targets_(tiles[k].logits, tiles[k].first, chunk.targets, nll, slope,
                           factor_KC.select(0, static_cast<std::int64_t>(k)));
  }
}

}  // namespace

std::int64_t automatic_chunk_rows(const ModelConfig& config, std::int64_t num_positions,
                                  at::ScalarType dtype, at::DeviceType device) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const std::int64_t row = std::max<std::int64_t>(1, config.vocab_size * element);
  const std::int64_t rows = device == at::kCPU
                                ? std::clamp<std::int64_t>(kChunkBytes / row, 128, 4096)
                                : std::max<std::int64_t>(kCudaChunkBytes / row, 128);
  return std::min(rows, std::max<std::int64_t>(1, num_positions));
}

std::int64_t head_tile_columns(const ModelConfig& config, std::int64_t chunk_rows,
                               at::ScalarType dtype, at::DeviceType device) {
  if (device != at::kCPU) {
    return config.vocab_size;
  }
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const std::int64_t columns = kTileBytes / (std::max<std::int64_t>(1, chunk_rows) * element);
  // An odd number of lines of 64, so that rows of a column do not share a set of the caches.
  const std::int64_t lines = std::max<std::int64_t>(16, columns / 64) - 1;
  return std::min(config.vocab_size, (lines | 1) * 64);
}

void chunk_logits(const ModelConfig& config, const ModelParams& params, const at::Tensor& hidden_CD,
                  const at::Tensor& scaled_CD, const at::Tensor& logits_CV) {
  if (config.head_divisor() == 1.0) {
    ops::linear_forward(hidden_CD, params.head, logits_CV);
  } else {
    divide_by_factor(config, hidden_CD, scaled_CD);
    ops::linear_forward(scaled_CD, params.head, logits_CV);
  }
  cap_logits_(config, logits_CV);
}

void head_backward(const ModelConfig& config, const ModelParams& p, const at::Tensor& targets_N,
                   double gradient_scale, Buffers& b, const at::Tensor& dhead_VD) {
  const profile::Scope scope("head");
  const std::int64_t n = targets_N.numel();
  const std::int64_t capacity = b.logits.size(0);
  const std::int64_t columns =
      head_tile_columns(config, capacity, b.logits.scalar_type(), b.logits.device().type());
  const double scale = gradient_scale / config.head_divisor();
  for (std::int64_t begin = 0; begin < n; begin += capacity) {
    const std::int64_t rows = std::min(capacity, n - begin);
    const HeadChunk chunk{b.norm.narrow(0, begin, rows), targets_N.narrow(0, begin, rows), rows};
    const std::vector<HeadTile> tiles = tiles_of(columns, rows, p.head, dhead_VD, b.logits);
    const auto of_tiles = [&](const at::Tensor& held) {
      const auto count = static_cast<std::int64_t>(tiles.size());
      return held.view({-1}).narrow(0, 0, count * rows).view({count, rows});
    };
    const at::Tensor factor = of_tiles(b.tile_max);
    head_forward_chunk(config, chunk, tiles, b, factor, of_tiles(b.tile_sum),
                       b.nll.narrow(0, begin, rows));
    make_gradients_(config, chunk, tiles, b, factor, b.nll.narrow(0, begin, rows));
    factor.mul_(scale);

    const at::Tensor scaled = b.scaled.narrow(0, 0, rows);
    const at::Tensor dhidden = b.dhidden.narrow(0, 0, rows);
    // b.delta's rows are the library's scratch until the sums, in their own type, are rounded
    // there.
    const at::Tensor product = b.delta.narrow(0, begin, rows);
    dhidden.zero_();
    // The last tile is still in cache.
    for (std::size_t k = tiles.size(); k-- > 0;) {
      const at::Tensor factors = factor.select(0, static_cast<std::int64_t>(k));
      ops::linear_backward_input_scaled(tiles[k].logits, tiles[k].weight, factors, dhidden,
                                        product);
      ops::linear_backward_weight_scaled(tiles[k].logits, chunk.hidden, factors, tiles[k].dweight,
                                         scaled);
    }
    product.copy_(dhidden);
  }
}

}  // namespace growmerge::transformer
