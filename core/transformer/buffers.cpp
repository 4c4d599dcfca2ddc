#include "core/transformer/buffers.h"

#include <ATen/ops/empty.h>

#include <functional>
#include <numeric>

#include "core/base/error.h"
#include "core/model/families.h"
#include "core/ops/dispatch.h"
#include "core/transformer/head.h"

namespace growmerge::transformer {
namespace {

struct Slot {
  at::Tensor* tensor;
  std::vector<std::int64_t> sizes;
  at::ScalarType dtype;
};

std::int64_t num_elements(const Slot& slot) {
  return std::accumulate(slot.sizes.begin(), slot.sizes.end(), std::int64_t{1},
                         std::multiplies<>());
}

/// Of the norms that only some families have.
void add_norm_slots(const ModelConfig& c, const BufferShape& shape, LayerBuffers& l,
                    std::vector<Slot>& slots) {
  const std::int64_t n = shape.num_positions;
  const at::ScalarType acc = ops::acc_dtype(shape.dtype);
  const Family& family = family_of(c);
  if (family.qk_norm != QkNorm::kNone) {
    const bool by_head = family.qk_norm == QkNorm::kHead;
    slots.push_back({&l.rstd_q, {by_head ? n * c.num_heads : n}, acc});
    slots.push_back({&l.rstd_k, {by_head ? n * c.num_kv_heads : n}, acc});
    if (shape.training) {
      slots.push_back({&l.q_raw, {n, c.num_heads * c.head_dim}, shape.dtype});
      slots.push_back({&l.k_raw, {n, c.num_kv_heads * c.head_dim}, shape.dtype});
    }
  }
  if (family.norms != NormPlacement::kBefore) {
    slots.push_back({&l.rstd_attention_raw, {n}, acc});
    slots.push_back({&l.rstd_mlp_raw, {n}, acc});
    if (shape.training) {
      slots.push_back({&l.attention_raw, {n, c.hidden_size}, shape.dtype});
      slots.push_back({&l.mlp_raw, {n, c.hidden_size}, shape.dtype});
    }
  }
}

std::vector<Slot> layer_slots(const ModelConfig& c, const BufferShape& shape, LayerBuffers& l) {
  const std::int64_t n = shape.num_positions;
  const at::ScalarType acc = ops::acc_dtype(shape.dtype);
  std::vector<Slot> slots = {{&l.x, {n, c.hidden_size}, shape.dtype},
                             {&l.q, {n, c.num_heads * c.head_dim}, shape.dtype},
                             {&l.k, {n, c.num_kv_heads * c.head_dim}, shape.dtype},
                             {&l.v, {n, c.num_kv_heads * c.head_dim}, shape.dtype},
                             {&l.attention, {n, c.num_heads * c.head_dim}, shape.dtype},
                             {&l.gate, {n, c.intermediate_size}, shape.dtype},
                             {&l.up, {n, c.intermediate_size}, shape.dtype},
                             {&l.rstd_input, {n}, acc},
                             {&l.rstd_post, {n}, acc}};
  if (shape.training) {
    slots.push_back({&l.mid, {n, c.hidden_size}, shape.dtype});
    slots.push_back({&l.lse, {c.num_heads, n}, acc});
  }
  add_norm_slots(c, shape, l, slots);
  return slots;
}

/// Every buffer with its shape, so that allocating and counting cannot disagree. What only a head
/// chunk needs comes last: part_of_buffers() relies on it.
std::vector<Slot> all_slots(const ModelConfig& c, const BufferShape& shape, Buffers& b) {
  const std::int64_t n = shape.num_positions;
  const at::ScalarType acc = ops::acc_dtype(shape.dtype);
  b.layers.resize(static_cast<std::size_t>(shape.training ? c.num_layers : 1));
  std::vector<Slot> slots;
  for (LayerBuffers& layer : b.layers) {
    std::vector<Slot> more = layer_slots(c, shape, layer);
    slots.insert(slots.end(), more.begin(), more.end());
  }
  slots.push_back({&b.rstd_last, {n}, acc});
  slots.push_back({&b.norm, {n, c.hidden_size}, shape.dtype});
  slots.push_back({&b.delta, {n, c.hidden_size}, shape.dtype});
  slots.push_back({&b.hidden, {n, c.intermediate_size}, shape.dtype});
  slots.push_back({&b.positions, {n}, at::ScalarType::Int});
  if (shape.training) {
    slots.push_back({&b.x_last, {n, c.hidden_size}, shape.dtype});
    slots.push_back({&b.dx, {n, c.hidden_size}, shape.dtype});
    slots.push_back({&b.dattention, {n, c.num_heads * c.head_dim}, shape.dtype});
    if (family_of(c).norms != NormPlacement::kBefore || c.residual_multiplier != 1.0) {
      slots.push_back({&b.dout, {n, c.hidden_size}, shape.dtype});
    }
  }
  if (shape.chunk_rows > 0) {
    slots.push_back({&b.nll, {n}, acc});
    slots.push_back({&b.logits, {shape.chunk_rows, c.vocab_size}, shape.dtype});
    slots.push_back({&b.scaled, {shape.chunk_rows, c.hidden_size}, shape.dtype});
  }
  if (shape.chunk_rows > 0 && shape.training) {
    const std::int64_t columns =
        head_tile_columns(c, shape.chunk_rows, shape.dtype, shape.device.type());
    const std::int64_t tiles = (c.vocab_size + columns - 1) / columns;
    slots.push_back({&b.tile_max, {tiles, shape.chunk_rows}, acc});
    slots.push_back({&b.tile_sum, {tiles, shape.chunk_rows}, acc});
    slots.push_back({&b.at_target, {shape.chunk_rows}, acc});
    slots.push_back({&b.dhidden, {shape.chunk_rows, c.hidden_size}, acc});
  }
  return slots;
}

/// In inference the residual stream is one tensor, and norms of what nobody looks back at are made
/// in place.
void share_buffers(const BufferShape& shape, Buffers& buffers) {
  if (!shape.training) {
    LayerBuffers& layer = buffers.layers.front();
    layer.mid = layer.x;
    buffers.x_last = layer.x;
    layer.q_raw = layer.q;
    layer.k_raw = layer.k;
    layer.attention_raw = layer.mlp_raw = buffers.delta;
  }
}

}  // namespace

Buffers make_buffers(const ModelConfig& config, const BufferShape& shape) {
  Buffers buffers;
  buffers.num_positions = shape.num_positions;
  for (const Slot& slot : all_slots(config, shape, buffers)) {
    *slot.tensor =
        at::empty(slot.sizes, at::TensorOptions().dtype(slot.dtype).device(shape.device));
  }
  share_buffers(shape, buffers);
  return buffers;
}

Buffers part_of_buffers(const ModelConfig& config, const BufferShape& shape,
                        const BufferShape& held_shape, Buffers& held) {
  Buffers part;
  part.num_positions = shape.num_positions;
  const std::vector<Slot> from = all_slots(config, held_shape, held);
  const std::vector<Slot> to = all_slots(config, shape, part);
  GM_ASSERT(to.size() <= from.size());  // the head's come last
  for (std::size_t i = 0; i < to.size(); ++i) {
    // The first elements, reshaped: [H, N] and [N, d] alike stay contiguous.
    *to[i].tensor = from[i].tensor->view({-1}).narrow(0, 0, num_elements(to[i])).view(to[i].sizes);
  }
  share_buffers(shape, part);
  return part;
}

std::int64_t buffer_bytes(const ModelConfig& config, const BufferShape& shape) {
  Buffers unused;
  std::int64_t total = 0;
  for (const Slot& slot : all_slots(config, shape, unused)) {
    total += num_elements(slot) * static_cast<std::int64_t>(c10::elementSize(slot.dtype));
  }
  return total;
}

}  // namespace growmerge::transformer
