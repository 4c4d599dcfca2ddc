#include "core/transformer/workspace.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>

#include "core/base/error.h"
#include "core/ops/dispatch.h"
#include "core/transformer/forward.h"
#include "core/transformer/head.h"

namespace growmerge {

transformer::Buffers& Workspace::Impl::buffers(const ModelConfig& config,
                                               transformer::BufferShape wanted,
                                               std::int64_t head_rows) {
  if (model != config) {
    model = config;
    training = {};
    inference = {};
    ropes = {};
    rope_positions = 0;
  }
  Held& held = wanted.training ? training : inference;
  if (head_rows > 0) {
    wanted.chunk_rows = head_chunk_rows > 0
                            ? std::min(head_chunk_rows, head_rows)
                            : transformer::automatic_chunk_rows(config, head_rows, wanted.dtype,
                                                                wanted.device.type());
  }
  const bool is_alike = held.shape.dtype == wanted.dtype && held.shape.device == wanted.device;
  if (!is_alike || held.shape.num_positions < wanted.num_positions ||
      held.shape.chunk_rows < wanted.chunk_rows) {
    transformer::BufferShape grown = wanted;
    if (is_alike) {  // calls that alternate must not take turns in reallocating
      grown.num_positions = std::max(wanted.num_positions, held.shape.num_positions);
      grown.chunk_rows = std::max(wanted.chunk_rows, held.shape.chunk_rows);
    }
    held = {};  // before the new ones, so that both never exist together
    held.buffers = transformer::make_buffers(config, grown);
    held.shape = grown;
    ++generation;
  }
  if (held.shape == wanted) {
    return held.buffers;
  }
  if (!(held.part_shape == wanted)) {
    held.part = transformer::part_of_buffers(config, wanted, held.shape, held.buffers);
    held.part_shape = wanted;
  }
  return held.part;
}

const transformer::Ropes& Workspace::Impl::ropes_for(std::int64_t num_positions,
                                                     const ModelConfig& config, at::Device device) {
  if (rope_positions < num_positions || ropes.global.cos.device() != device) {
    ropes = transformer::make_ropes(config, num_positions);
    rope_positions = num_positions;
    for (at::Tensor* table :
         {&ropes.global.cos, &ropes.global.sin, &ropes.local.cos, &ropes.local.sin}) {
      *table = table->defined() ? table->to(device) : *table;
    }
    ++generation;
  }
  return ropes;
}

DeviceBatch& Workspace::Impl::upload(const ModelConfig& config, const Batch& batch,
                                     at::Device device) {
  const std::int64_t n = batch.num_positions();
  const std::int64_t half_n = (n + 1) / 2;  // int64 elements of n int32 elements
  DeviceBatch& d = batches[{batch.num_rows, batch.row_tokens}];
  const auto num_starts = static_cast<std::int64_t>(batch.segment_starts.size());
  if (d.max_starts < num_starts || d.packed.device() != device) {
    // Room for twice as many at most, so that the shape soon stays the same.
    d = {};
    d.max_starts = static_cast<std::int64_t>(std::bit_ceil(batch.segment_starts.size()));
    const auto on_device = at::TensorOptions().device(device);
    d.packed = at::empty({2 * n + half_n + (d.max_starts + 1) / 2}, on_device.dtype(at::kLong));
    d.tokens = d.packed.narrow(0, 0, n);
    d.targets = d.packed.narrow(0, n, n);
    const at::Tensor ints =
        d.packed.narrow(0, 2 * n, half_n + (d.max_starts + 1) / 2).view(at::kInt);
    d.positions = ints.narrow(0, 0, n);
    d.starts = ints.narrow(0, 2 * half_n, d.max_starts);
    d.loss_sum = at::empty({batch.num_rows}, on_device.dtype(at::kDouble));
    d.num_targets = at::empty({batch.num_rows}, on_device.dtype(at::kLong));
  }
  // Given out again only when the copy is done: the allocator of pinned memory sees to it.
  const at::Tensor host = at::empty(
      d.packed.sizes(), at::TensorOptions().dtype(at::kLong).pinned_memory(device.is_cuda()));
  host.narrow(0, 0, n).copy_(batch.tokens);
  host.narrow(0, n, n).copy_(batch.targets);
  const at::Tensor ints = host.narrow(0, 2 * n, host.numel() - 2 * n).view(at::kInt);
  const std::int64_t longest =
      transformer::fill_positions(config, batch.segment_starts, n, ints.narrow(0, 0, n));
  GM_CHECK(longest <= batch.row_tokens, kMismatch, "batch: a segment has ", longest,
           " positions, a row ", batch.row_tokens);
  auto* starts = ops::data<std::int32_t>(ints) + 2 * half_n;
  std::copy(batch.segment_starts.begin(), batch.segment_starts.end(), starts);
  std::fill(starts + num_starts, starts + d.max_starts, static_cast<std::int32_t>(n));
  d.packed.copy_(host, /*non_blocking=*/true);
  return d;
}

Workspace::Workspace(std::int64_t head_chunk_rows) : impl_(std::make_unique<Impl>()) {
  impl_->head_chunk_rows = head_chunk_rows;
}
void Workspace::record_graphs(bool on) { impl_->records_graphs = on; }

Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;

std::int64_t Workspace::bytes() const {
  std::int64_t total = 0;
  const auto add = [&](const at::Tensor& t) {
    total += t.defined() ? static_cast<std::int64_t>(t.nbytes()) : 0;
  };
  for (const Impl::Held* held : {&impl_->training, &impl_->inference}) {
    if (impl_->model && held->shape.num_positions > 0) {
      total += transformer::buffer_bytes(*impl_->model, held->shape);
    }
  }
  for (const ops::RopeTable* table : {&impl_->ropes.global, &impl_->ropes.local}) {
    add(table->cos);
    add(table->sin);
  }
  for (const auto& [shape, batch] : impl_->batches) {
    add(batch.packed);
  }
  return total;
}

void Workspace::release() {
  const std::int64_t rows = impl_->head_chunk_rows;
  const bool records_graphs = impl_->records_graphs;
  impl_ = std::make_unique<Impl>();
  impl_->head_chunk_rows = rows;
  impl_->records_graphs = records_graphs;
}

}  // namespace growmerge
