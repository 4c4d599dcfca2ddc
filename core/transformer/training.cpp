// The loss and its gradients: forward, head, and backward written out by hand, block by block.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "core/base/error.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/embedding.h"
#include "core/ops/row_losses.h"
#include "core/transformer/attention_block.h"
#include "core/transformer/forward.h"
#include "core/transformer/head.h"
#include "core/transformer/mlp_block.h"
#include "core/transformer/residual.h"
#include "core/transformer/workspace.h"

namespace growmerge {
namespace {

using transformer::Buffers;
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

Task task_on_cpu(const ModelConfig& config, const Batch& batch, const Buffers& b) {
  Task task;
  task.inputs = {.tokens = batch.tokens,
                 .positions = b.positions,
                 .segments = {.starts = batch.segment_starts}};
  task.targets = batch.targets;
  task.loss_sum = at::empty({batch.num_rows}, at::kDouble);
  task.num_targets = at::empty({batch.num_rows}, at::kLong);
  task.longest =
      transformer::fill_positions(config, batch.segment_starts, batch.num_positions(), b.positions);
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

/// Forward and backward pass of a task; everything it needs is allocated.
struct Pass {
  const ModelConfig& config;
  const ModelParams& params;
  const ModelParams& grads;
  const Task& task;
  std::int64_t row_tokens;
  double gradient_scale;
  const transformer::Ropes& ropes;
  Buffers& b;

  /// `ready` hears of each tensor whose gradient is final.
  void run(const std::function<void(const std::string&)>& ready) const {
    transformer::forward(config, params, task.inputs, ropes, b, nullptr);
    transformer::head_backward(config, params, task.targets, gradient_scale, b, grads.head);
    ops::row_losses(b.nll, task.targets, row_tokens, task.loss_sum, task.num_targets);
    report(Block::kHead, 0, ready);
    b.dx.zero_();
    transformer::add_input_gradient(config, b.x_last, {params.outer[Role::kFinalNorm], b.rstd_last},
                                    grads.outer[Role::kFinalNorm], b);
    report(Block::kFinalNorm, 0, ready);
    for (std::int64_t l = config.num_layers - 1; l >= 0; --l) {
      mlp_of_layer(l);
      report(Block::kMlp, l, ready);
      attention_of_layer(l);
      report(Block::kAttention, l, ready);
    }
    if (const double scale = transformer::embedding_scale(config, b.dx.scalar_type());
        scale != 1.0) {
      b.dx.mul_(scale);
    }
    ops::embedding_backward(task.inputs.tokens, b.dx, grads.outer[Role::kEmbedding]);
    report(Block::kEmbedding, 0, ready);
  }

 private:
  void mlp_of_layer(std::int64_t layer) const {
    const auto i = static_cast<std::size_t>(layer);
    const transformer::RoleTensors& p = params.layers[i];
    const transformer::RoleTensors& g = grads.layers[i];
    transformer::LayerBuffers& a = b.layers[i];
    const at::Tensor dout = transformer::output_gradient(config, transformer::norm_behind_mlp(p, a),
                                                         a.mlp_raw, g[Role::kMlpOutputNorm], b);
    const transformer::StreamNorm norm = transformer::norm_before_mlp(p, a);
    // The norm's output is made again: keeping it would cost N d elements a layer.
    const at::Tensor input = transformer::block_input(config, a.mid, norm, b);
    transformer::mlp_backward(config, p, g, input, dout, a, b);
    transformer::add_input_gradient(config, a.mid, norm, transformer::norm_before_mlp(g, a).gain_D,
                                    b);
  }

  void attention_of_layer(std::int64_t layer) const {
    const auto i = static_cast<std::size_t>(layer);
    const transformer::RoleTensors& p = params.layers[i];
    const transformer::RoleTensors& g = grads.layers[i];
    transformer::LayerBuffers& a = b.layers[i];
    const at::Tensor dout =
        transformer::output_gradient(config, transformer::norm_behind_attention(p, a),
                                     a.attention_raw, g[Role::kAttentionOutputNorm], b);
    const transformer::StreamNorm norm = transformer::norm_before_attention(p, a);
    const at::Tensor input = transformer::block_input(config, a.x, norm, b);
    transformer::attention_backward(config, p, g, task.inputs, ropes, layer, input, dout, a, b);
    transformer::add_input_gradient(config, a.x, norm, g[Role::kInputNorm], b);
  }

  /// Backward is forward turned round, and so is the order of a block's tensors.
  void report(Block block, std::int64_t layer,
              const std::function<void(const std::string&)>& ready) const {
    const std::vector<TensorRow>& table = tensor_table();
    for (auto row = table.rbegin(); row != table.rend(); ++row) {
      if (row->block == block && row->is_present(config)) {
        ready(tensor_name(row->role, layer));
      }
    }
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
  DeviceBatch* d = device.is_cpu() ? nullptr : &scope->upload(config, batch, device);
  const Task task = d == nullptr ? task_on_cpu(config, batch, b) : task_on_device(batch, *d);
  const Pass pass{config,
                  p,
                  g,
                  task,
                  batch.row_tokens,
                  gradient_scale,
                  scope->ropes_for(task.longest, config, device),
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
  const Task task = device.is_cpu() ? task_on_cpu(config, batch, b)
                                    : task_on_device(batch, scope->upload(config, batch, device));
  transformer::forward(config, p, task.inputs, scope->ropes_for(task.longest, config, device), b,
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
