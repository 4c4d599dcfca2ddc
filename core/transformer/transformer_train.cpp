// The loss and its gradients: forward, the chunked head, and backward written out by hand.
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <vector>

#include "core/base/error.h"
#include "core/ops/attention.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/embedding.h"
#include "core/ops/gated_mlp.h"
#include "core/ops/linear.h"
#include "core/ops/rms_norm.h"
#include "core/ops/row_losses.h"
#include "core/transformer/transformer_workspace.h"

namespace growmerge {
namespace {

using transformer::Buffers;
using transformer::LayerBuffers;
using transformer::LayerParams;
using transformer::ModelParams;

void check_batch(const ModelConfig& config, const Batch& batch) {
  GM_CHECK(batch.num_positions() > 0 && batch.tokens.defined() && batch.targets.defined() &&
               batch.tokens.numel() == batch.num_positions() &&
               batch.targets.numel() == batch.num_positions(),
           kMismatch, "batch: ", batch.num_rows, " rows of ", batch.row_tokens,
           " tokens do not match its tokens and targets");
  transformer::check_ids(batch.tokens, config.vocab_size, false, "batch tokens");
  transformer::check_ids(batch.targets, config.vocab_size, true, "batch targets");
}

/// The batch where the parameters are, and where its losses go.
struct Task {
  transformer::Inputs inputs;
  at::Tensor targets;      // [N]
  at::Tensor loss_sum;     // float64 [B]
  at::Tensor num_targets;  // int64 [B]
  std::int64_t longest = 0;
};

Task task_on_cpu(const Batch& batch, const Buffers& b) {
  Task task;
  task.inputs = {.tokens = batch.tokens,
                 .positions = b.positions,
                 .segments = {.starts = batch.segment_starts}};
  task.targets = batch.targets;
  task.loss_sum = at::empty({batch.num_rows}, at::kDouble);
  task.num_targets = at::empty({batch.num_rows}, at::kLong);
  task.longest =
      transformer::fill_positions(batch.segment_starts, batch.num_positions(), b.positions);
  return task;
}

/// Bounds are the shape's, not the batch's, so that all batches of a shape make the same work.
Task task_on_device(const Batch& batch, const DeviceBatch& d) {
  Task task;
  task.inputs = {
      .tokens = d.tokens,
      .positions = d.positions,
      .segments = {
          .starts = batch.segment_starts, .device_starts = d.starts, .longest = batch.row_tokens}};
  task.targets = d.targets;
  task.loss_sum = d.loss_sum;
  task.num_targets = d.num_targets;
  task.longest = batch.row_tokens;
  return task;
}

/// Counted on the host, which does not wait for the device.
std::vector<std::int64_t> targets_of_rows(const Batch& batch) {
  const auto* targets = ops::const_data<std::int64_t>(batch.targets);
  std::vector<std::int64_t> counts;
  for (std::int64_t row = 0; row < batch.num_rows; ++row) {
    const auto* begin = targets + row * batch.row_tokens;
    counts.push_back(batch.row_tokens -
                     std::count(begin, begin + batch.row_tokens, Batch::kIgnoredTarget));
  }
  return counts;
}

RowLosses losses_of(const Batch& batch, const Task& task) {
  RowLosses losses{.loss_sum = task.loss_sum, .num_targets = {}};
  if (task.num_targets.is_cpu()) {
    const auto* counts = ops::const_data<std::int64_t>(task.num_targets);
    losses.num_targets.assign(counts, counts + batch.num_rows);
  } else {
    losses.num_targets = targets_of_rows(batch);
  }
  return losses;
}

/// Waits for the device.
LossResult read(const RowLosses& losses) {
  LossResult result;
  const at::Tensor host = losses.loss_sum.cpu();
  const auto* sums = ops::const_data<double>(host);
  result.row_loss_sum.assign(sums, sums + host.numel());
  result.row_num_targets = losses.num_targets;
  for (std::size_t r = 0; r < result.row_loss_sum.size(); ++r) {
    result.loss_sum += result.row_loss_sum[r];
    result.num_targets += result.row_num_targets[r];
  }
  return result;
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

/// Negative log-likelihoods to b.nll; tiles' logits become exponentials, b.tile_max their factors.
void head_forward_chunk(const ModelConfig& config, const HeadChunk& chunk,
                        const std::vector<HeadTile>& tiles, Buffers& b, const at::Tensor& max_KC,
                        const at::Tensor& sum_KC, const at::Tensor& nll) {
  at::Tensor input = chunk.hidden;
  const at::Tensor at_target = b.at_target.narrow(0, 0, chunk.rows);
  if (config.lm_head_normalization_factor != 1.0) {
    input = b.scaled.narrow(0, 0, chunk.rows);
    at::mul_out(input, chunk.hidden,
                at::scalar_tensor(1.0 / config.lm_head_normalization_factor,
                                  chunk.hidden.options().device(at::kCPU)));
  }
  for (std::size_t k = 0; k < tiles.size(); ++k) {
    const auto row = static_cast<std::int64_t>(k);
    ops::linear_forward(input, tiles[k].weight, tiles[k].logits);
    ops::softmax_tile_(tiles[k].logits, tiles[k].first, chunk.targets, max_KC.select(0, row),
                       sum_KC.select(0, row), at_target);
  }
  ops::combine_tiles_(max_KC, sum_KC, at_target, chunk.targets, nll);
}

/// Losses of all positions go to b.nll, the gradient of the hidden states to b.delta; the head's is
/// added to dhead.
void head_backward(const ModelConfig& config, const ModelParams& p, const at::Tensor& targets,
                   double gradient_scale, Buffers& b, const at::Tensor& dhead) {
  const profile::Scope scope("head");
  const std::int64_t n = targets.numel();
  const std::int64_t capacity = b.logits.size(0);
  const std::int64_t columns = transformer::head_tile_columns(
      config, capacity, b.logits.scalar_type(), b.logits.device().type());
  const double scale = gradient_scale / config.lm_head_normalization_factor;
  for (std::int64_t begin = 0; begin < n; begin += capacity) {
    const std::int64_t rows = std::min(capacity, n - begin);
    const HeadChunk chunk{b.norm.narrow(0, begin, rows), targets.narrow(0, begin, rows), rows};
    const std::vector<HeadTile> tiles = tiles_of(columns, rows, p.head, dhead, b.logits);
    const auto of_tiles = [&](const at::Tensor& held) {
      const auto count = static_cast<std::int64_t>(tiles.size());
      return held.view({-1}).narrow(0, 0, count * rows).view({count, rows});
    };
    const at::Tensor factor = of_tiles(b.tile_max);
    head_forward_chunk(config, chunk, tiles, b, factor, of_tiles(b.tile_sum),
                       b.nll.narrow(0, begin, rows));
    factor.mul_(scale);

    const at::Tensor scaled = b.scaled.narrow(0, 0, rows);
    const at::Tensor dhidden = b.dhidden.narrow(0, 0, rows);
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
    ops::subtract_targets(chunk.targets, scale, p.head, chunk.hidden, dhidden, scaled);
    ops::embedding_backward(chunk.targets, scaled, dhead);
    product.copy_(dhidden);
  }
}

/// b.dx holds the gradient of the layer's output and becomes that of its input. Buffers of the
/// forward pass are overwritten by their gradients: gate, up, q, k, v.
void mlp_backward(const ModelConfig& c, const LayerParams& p, const LayerParams& g, LayerBuffers& a,
                  Buffers& b) {
  const profile::Scope scope("mlp backward");
  ops::linear_backward_input(b.dx, p.down, b.hidden);
  ops::gated_backward_(c.activation, a.gate, a.up, b.hidden);
  ops::linear_backward_weight(b.dx, b.hidden, g.down);
  ops::apply_rms_norm(a.mid, p.post_norm, a.rstd_post, b.norm);
  ops::linear_backward_weight(a.up, b.norm, g.up);
  ops::linear_backward_weight(a.gate, b.norm, g.gate);
  ops::linear_backward_input(a.up, p.up, b.delta);
  ops::linear_backward_input(a.gate, p.gate, b.delta, 1.0);
  ops::rms_norm_backward(b.delta, a.mid, p.post_norm, a.rstd_post, b.dx, g.post_norm);
}

void attention_backward(const ModelConfig& c, const LayerParams& p, const LayerParams& g,
                        const transformer::Inputs& inputs, const ops::RopeTable& rope,
                        LayerBuffers& a, Buffers& b) {
  const profile::Scope scope("attention backward");
  const ops::AttentionShape shape{c.num_heads, c.num_kv_heads, c.head_dim};
  ops::linear_backward_input(b.dx, p.o, b.dattention);
  ops::linear_backward_weight(b.dx, a.attention, g.o);
  // A task has read its rows of q, k and v before it writes their gradients there.
  ops::attention_backward(shape, inputs.segments, a.q, a.k, a.v, a.attention, a.lse, b.dattention,
                          a.q, a.k, a.v);
  ops::rope_(a.q, c.head_dim, rope, inputs.positions, true);
  ops::rope_(a.k, c.head_dim, rope, inputs.positions, true);
  ops::apply_rms_norm(a.x, p.input_norm, a.rstd_input, b.norm);
  ops::linear_backward_weight(a.v, b.norm, g.v);
  ops::linear_backward_weight(a.k, b.norm, g.k);
  ops::linear_backward_weight(a.q, b.norm, g.q);
  ops::linear_backward_input(a.v, p.v, b.delta);
  ops::linear_backward_input(a.k, p.k, b.delta, 1.0);
  ops::linear_backward_input(a.q, p.q, b.delta, 1.0);
  ops::rms_norm_backward(b.delta, a.x, p.input_norm, a.rstd_input, b.dx, g.input_norm);
}

/// Forward and backward pass of a task; everything it needs is allocated.
struct Pass {
  const ModelConfig& config;
  const ModelParams& params;
  const ModelParams& grads;
  const Task& task;
  std::int64_t row_tokens;
  double gradient_scale;
  const ops::RopeTable& rope;
  Buffers& b;

  void run(const std::function<void(const std::string&)>& ready) const {
    transformer::forward(config, params, task.inputs, rope, b, nullptr);
    head_backward(config, params, task.targets, gradient_scale, b, grads.head);
    ops::row_losses(b.nll, task.targets, row_tokens, task.loss_sum, task.num_targets);
    if (!config.tie_word_embeddings) {
      ready("lm_head.weight");
    }
    b.dx.zero_();
    ops::rms_norm_backward(b.delta, b.x_last, params.final_norm, b.rstd_last, b.dx,
                           grads.final_norm);
    ready("model.norm.weight");
    for (std::int64_t l = config.num_layers - 1; l >= 0; --l) {
      const auto i = static_cast<std::size_t>(l);
      mlp_backward(config, params.layers[i], grads.layers[i], b.layers[i], b);
      for (const char* part :
           {"mlp.down_proj", "mlp.up_proj", "mlp.gate_proj", "post_attention_layernorm"}) {
        ready(transformer::layer_tensor(l, part));
      }
      attention_backward(config, params.layers[i], grads.layers[i], task.inputs, rope, b.layers[i],
                         b);
      for (const char* part : {"self_attn.o_proj", "self_attn.v_proj", "self_attn.k_proj",
                               "self_attn.q_proj", "input_layernorm"}) {
        ready(transformer::layer_tensor(l, part));
      }
    }
    ops::embedding_backward(task.inputs.tokens, b.dx, grads.embedding);
    ready("model.embed_tokens.weight");
  }
};

RecordingKey key_of(std::int64_t generation, double gradient_scale, const ParamMap& params,
                    const ParamMap& grads) {
  RecordingKey key{generation, gradient_scale, {}};
  for (const ParamMap* map : {&params, &grads}) {
    for (const auto& [name, tensor] : *map) {
      key.tensors.push_back(tensor.const_data_ptr());
    }
  }
  return key;
}

/// Runs `work` the first time that `key` comes, which lets libraries set themselves up; records it
/// the second time and replays it from then on.
void run_recorded(DeviceBatch& d, RecordingKey key, const std::function<void()>& work) {
  if (!(d.key == key)) {
    d.graph.reset();
    d.key = std::move(key);
    work();
    return;
  }
  if (d.graph == nullptr) {
    d.graph = opened_cuda_backend()->record_graph(work);
  }
  d.graph->replay();
}

}  // namespace

RowLosses row_losses_and_gradients(const ModelConfig& config, const ParamMap& params,
                                   const Batch& batch, double gradient_scale, const ParamMap& grads,
                                   const GradReady& grad_ready, Workspace* workspace) {
  WorkspaceScope scope(workspace);
  check_batch(config, batch);
  const at::ScalarType dtype = transformer::compute_dtype(params);
  const at::Device device = transformer::compute_device(params);
  const ModelParams p = transformer::model_params(config, params, dtype, device, "parameters");
  const ModelParams g =
      transformer::model_params(config, grads, ops::acc_dtype(dtype), device, "gradients");
  const std::int64_t n = batch.num_positions();
  Buffers& b = scope->buffers(
      config, {.num_positions = n, .training = true, .dtype = dtype, .device = device}, n);
  DeviceBatch* d = device.is_cpu() ? nullptr : &scope->upload(batch, device);
  const Task task = d == nullptr ? task_on_cpu(batch, b) : task_on_device(batch, *d);
  const Pass pass{config,
                  p,
                  g,
                  task,
                  batch.row_tokens,
                  gradient_scale,
                  scope->rope_table(task.longest, config, device),
                  b};
  if (d != nullptr && scope->records_graphs && !grad_ready) {
    run_recorded(*d, key_of(scope->generation, gradient_scale, params, grads),
                 [&] { pass.run([](const std::string&) {}); });
  } else {
    pass.run([&](const std::string& name) {
      if (grad_ready) {
        grad_ready(name);
      }
    });
  }
  return losses_of(batch, task);
}

LossResult loss_and_gradients(const ModelConfig& config, const ParamMap& params, const Batch& batch,
                              double gradient_scale, const ParamMap& grads,
                              const GradReady& grad_ready, Workspace* workspace) {
  return read(row_losses_and_gradients(config, params, batch, gradient_scale, grads, grad_ready,
                                       workspace));
}

LossResult forward_loss(const ModelConfig& config, const ParamMap& params, const Batch& batch,
                        Workspace* workspace) {
  WorkspaceScope scope(workspace);
  check_batch(config, batch);
  const at::ScalarType dtype = transformer::compute_dtype(params);
  const at::Device device = transformer::compute_device(params);
  const ModelParams p = transformer::model_params(config, params, dtype, device, "parameters");
  const std::int64_t n = batch.num_positions();
  Buffers& b = scope->buffers(config, {.num_positions = n, .dtype = dtype, .device = device}, n);
  const Task task =
      device.is_cpu() ? task_on_cpu(batch, b) : task_on_device(batch, scope->upload(batch, device));
  transformer::forward(config, p, task.inputs, scope->rope_table(task.longest, config, device), b,
                       nullptr);
  const std::int64_t chunk = b.logits.size(0);
  for (std::int64_t begin = 0; begin < n; begin += chunk) {
    const std::int64_t rows = std::min(chunk, n - begin);
    const at::Tensor logits = b.logits.narrow(0, 0, rows);
    transformer::chunk_logits(config, p, b.norm.narrow(0, begin, rows), b.scaled.narrow(0, 0, rows),
                              logits);
    ops::log_probs(logits, task.targets.narrow(0, begin, rows), b.nll.narrow(0, begin, rows),
                   at::Tensor());
  }
  ops::row_losses(b.nll, task.targets, batch.row_tokens, task.loss_sum, task.num_targets);
  task.loss_sum.neg_();  // of log-probabilities
  return read(losses_of(batch, task));
}

}  // namespace growmerge
