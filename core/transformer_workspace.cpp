#include "core/transformer_workspace.h"

#include <algorithm>

namespace growmerge {
namespace {

std::vector<double> numbers(const ModelConfig& c) {
  const auto d = [](std::int64_t x) { return static_cast<double>(x); };
  std::vector<double> out = {d(c.vocab_size), d(c.hidden_size), d(c.intermediate_size),
                             d(c.num_layers), d(c.num_heads),   d(c.num_kv_heads),
                             d(c.head_dim),   c.rope_theta};
  if (c.rope_scaling) {
    const RopeScaling& s = *c.rope_scaling;
    out.insert(out.end(), {s.factor, s.low_freq_factor, s.high_freq_factor,
                           d(s.original_max_position_embeddings)});
  }
  return out;
}

}  // namespace

transformer::Buffers& Workspace::Impl::buffers(const ModelConfig& config,
                                               std::int64_t num_positions, bool is_training,
                                               at::ScalarType dtype, std::int64_t head_rows) {
  std::vector<double> now = numbers(config);
  if (now != model) {
    model = std::move(now);
    training = {};
    inference = {};
    rope = {};
  }
  Held& held = is_training ? training : inference;
  std::int64_t rows = 0;
  if (head_rows > 0) {
    rows = head_chunk_rows > 0 ? std::min(head_chunk_rows, head_rows)
                               : transformer::automatic_chunk_rows(config, head_rows, dtype);
  }
  const transformer::BufferShape wanted{num_positions, rows, is_training, dtype};
  if (held.shape.dtype != dtype || held.shape.num_positions < num_positions ||
      held.shape.chunk_rows < rows) {
    transformer::BufferShape grown = wanted;
    if (held.shape.dtype == dtype) {  // calls that alternate must not take turns in reallocating
      grown.num_positions = std::max(num_positions, held.shape.num_positions);
      grown.chunk_rows = std::max(rows, held.shape.chunk_rows);
    }
    held = {};  // before the new ones, so that both never exist together
    held.buffers = transformer::make_buffers(config, grown);
    held.shape = grown;
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

const ops::RopeTable& Workspace::Impl::rope_table(std::int64_t num_positions,
                                                  const ModelConfig& config) {
  if (!rope.cos.defined() || rope.cos.size(0) < num_positions) {
    rope = ops::make_rope_table(config, num_positions);
  }
  return rope;
}

Workspace::Workspace(std::int64_t head_chunk_rows) : impl_(std::make_unique<Impl>()) {
  impl_->head_chunk_rows = head_chunk_rows;
}
Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;

std::int64_t Workspace::bytes() const {
  std::int64_t total = 0;
  const auto add = [&](const at::Tensor& t) {
    total += t.defined() ? static_cast<std::int64_t>(t.nbytes()) : 0;
  };
  for (const transformer::Buffers* b : {&impl_->training.buffers, &impl_->inference.buffers}) {
    for (const transformer::LayerBuffers& l : b->layers) {
      for (const at::Tensor* t : {&l.x, &l.q, &l.k, &l.v, &l.attention, &l.lse, &l.gate, &l.up,
                                  &l.rstd_input, &l.rstd_post}) {
        add(*t);
      }
      add(b == &impl_->training.buffers ? l.mid : at::Tensor());
    }
    add(b == &impl_->training.buffers ? b->x_last : at::Tensor());
    for (const at::Tensor* t : {&b->rstd_last, &b->norm, &b->delta, &b->hidden, &b->dx,
                                &b->dattention, &b->positions, &b->logits, &b->nll, &b->scaled,
                                &b->tile_max, &b->tile_sum, &b->at_target, &b->dhidden}) {
      add(*t);
    }
  }
  add(impl_->rope.cos);
  add(impl_->rope.sin);
  return total;
}

void Workspace::release() {
  const std::int64_t rows = impl_->head_chunk_rows;
  impl_ = std::make_unique<Impl>();
  impl_->head_chunk_rows = rows;
}

}  // namespace growmerge
