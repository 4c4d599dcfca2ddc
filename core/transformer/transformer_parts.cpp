#include "core/transformer/transformer_parts.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"
#include "core/contracts/batch_source.h"
#include "core/ops/attention.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dispatch.h"
#include "core/ops/embedding.h"
#include "core/ops/gated_mlp.h"
#include "core/ops/linear.h"
#include "core/ops/rms_norm.h"

namespace growmerge::transformer {
namespace {

constexpr std::int64_t kChunkBytes = 1024 * 49152 * 4;
constexpr std::int64_t kTileBytes = 1024 * 2048 * 4;
constexpr std::int64_t kCudaChunkBytes = 512'000'000;

struct Slot {
  at::Tensor* tensor;
  std::vector<std::int64_t> sizes;
  at::ScalarType dtype;
};

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
  return slots;
}

/// Every buffer with its shape, so that allocating and counting cannot disagree.
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

/// In inference the residual stream is one tensor.
void share_residual(const BufferShape& shape, Buffers& buffers) {
  if (!shape.training) {
    buffers.layers.front().mid = buffers.layers.front().x;
    buffers.x_last = buffers.layers.front().x;
  }
}

void expect(const std::string& name, const at::Tensor& tensor, std::vector<std::int64_t> sizes,
            at::ScalarType dtype, at::Device device, const char* what) {
  GM_CHECK(tensor.sizes() == at::IntArrayRef(sizes), kMismatch, what, ": tensor '", name,
           "' has shape ", tensor.sizes(), ", the configuration asks for ", at::IntArrayRef(sizes));
  GM_CHECK(tensor.scalar_type() == dtype, kMismatch, what, ": tensor '", name, "' is ",
           c10::toString(tensor.scalar_type()), ", expected ", c10::toString(dtype));
  GM_CHECK(tensor.device() == device, kMismatch, what, ": tensor '", name, "' is on ",
           tensor.device().str(), ", expected ", device.str());
  GM_CHECK(tensor.is_contiguous(), kMismatch, what, ": tensor '", name, "' is not contiguous");
}

}  // namespace

std::string layer_tensor(std::int64_t layer, const char* part) {
  return "model.layers." + std::to_string(layer) + "." + part + ".weight";
}

at::ScalarType compute_dtype(const ParamMap& params) {
  return params.at("model.embed_tokens.weight").scalar_type();
}

at::Device compute_device(const ParamMap& params) {
  return params.at("model.embed_tokens.weight").device();
}

void require_cpu(const ParamMap& params, const char* what) {
  GM_CHECK(compute_device(params).is_cpu(), kUnsupported, what,
           " runs on CPU tensors, the parameters are on ", compute_device(params).str());
}

ModelParams model_params(const ModelConfig& c, const ParamMap& params, at::ScalarType dtype,
                         at::Device device, const char* what) {
  const std::int64_t d = c.hidden_size;
  const std::int64_t f = c.intermediate_size;
  const std::int64_t q = c.num_heads * c.head_dim;
  const std::int64_t kv = c.num_kv_heads * c.head_dim;
  const auto take = [&](const std::string& name, std::vector<std::int64_t> sizes) {
    const at::Tensor& tensor = params.at(name);
    expect(name, tensor, std::move(sizes), dtype, device, what);
    return tensor;
  };
  ModelParams out;
  out.embedding = take("model.embed_tokens.weight", {c.vocab_size, d});
  for (std::int64_t i = 0; i < c.num_layers; ++i) {
    LayerParams l;
    l.input_norm = take(layer_tensor(i, "input_layernorm"), {d});
    l.q = take(layer_tensor(i, "self_attn.q_proj"), {q, d});
    l.k = take(layer_tensor(i, "self_attn.k_proj"), {kv, d});
    l.v = take(layer_tensor(i, "self_attn.v_proj"), {kv, d});
    l.o = take(layer_tensor(i, "self_attn.o_proj"), {d, q});
    l.post_norm = take(layer_tensor(i, "post_attention_layernorm"), {d});
    l.gate = take(layer_tensor(i, "mlp.gate_proj"), {f, d});
    l.up = take(layer_tensor(i, "mlp.up_proj"), {f, d});
    l.down = take(layer_tensor(i, "mlp.down_proj"), {d, f});
    out.layers.push_back(std::move(l));
  }
  out.final_norm = take("model.norm.weight", {d});
  out.head = c.tie_word_embeddings ? out.embedding : take("lm_head.weight", {c.vocab_size, d});
  return out;
}

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

Buffers make_buffers(const ModelConfig& config, const BufferShape& shape) {
  Buffers buffers;
  buffers.num_positions = shape.num_positions;
  for (const Slot& slot : all_slots(config, shape, buffers)) {
    *slot.tensor =
        at::empty(slot.sizes, at::TensorOptions().dtype(slot.dtype).device(shape.device));
  }
  share_residual(shape, buffers);
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
    std::int64_t elements = 1;
    for (const std::int64_t size : to[i].sizes) {
      elements *= size;
    }
    *to[i].tensor = from[i].tensor->view({-1}).narrow(0, 0, elements).view(to[i].sizes);
  }
  share_residual(shape, part);
  return part;
}

std::int64_t buffer_bytes(const ModelConfig& config, const BufferShape& shape) {
  Buffers unused;
  std::int64_t total = 0;
  for (const Slot& slot : all_slots(config, shape, unused)) {
    std::int64_t elements = 1;
    for (const std::int64_t size : slot.sizes) {
      elements *= size;
    }
    total += elements * static_cast<std::int64_t>(c10::elementSize(slot.dtype));
  }
  return total;
}

std::int64_t fill_positions(std::span<const std::int32_t> starts, std::int64_t n,
                            const at::Tensor& positions, const ops::Prefixes* prefixes) {
  GM_CHECK(starts.size() >= 2 && starts.front() == 0 && starts.back() == n, kMismatch,
           "segment_starts must run from 0 to the number of positions (", n, "), has ",
           starts.size(), " entries", starts.empty() ? "" : " ending at ",
           starts.empty() ? 0 : starts.back());
  auto* p = ops::data<std::int32_t>(positions);
  std::int64_t longest = 0;
  for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
    GM_CHECK(starts[s] < starts[s + 1], kMismatch, "segment_starts must ascend: entry ", s, " is ",
             starts[s], ", the next is ", starts[s + 1]);
    const auto before = prefixes == nullptr ? 0 : static_cast<std::int32_t>(prefixes->of(s).size());
    for (std::int32_t i = starts[s]; i < starts[s + 1]; ++i) {
      p[i] = before + i - starts[s];
    }
    longest = std::max<std::int64_t>(longest, before + starts[s + 1] - starts[s]);
  }
  return longest;
}

void check_ids(const at::Tensor& ids, std::int64_t vocab_size, bool targets, const char* what) {
  GM_CHECK(ids.defined() && ids.dim() == 1 && ids.scalar_type() == at::ScalarType::Long &&
               ids.is_contiguous(),
           kMismatch, what, " must be one contiguous row of int64 ids");
  const auto* p = ops::const_data<std::int64_t>(ids);
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    GM_CHECK((p[i] >= 0 && p[i] < vocab_size) || (targets && p[i] == Batch::kIgnoredTarget),
             kMismatch, what, ": id ", p[i], " at position ", i, " is outside the vocabulary of ",
             vocab_size, ": were the tokens made with this model's tokenizer?");
  }
}

namespace {

void attend(const ModelConfig& c, const LayerBuffers& b, const Inputs& inputs, std::int64_t layer,
            KeyValueCache* cache) {
  const ops::AttentionShape shape{c.num_heads, c.num_kv_heads, c.head_dim};
  if (cache == nullptr) {
    ops::attention_forward(shape, inputs.segments, b.q, b.k, b.v, b.attention, b.lse,
                           inputs.prefixes);
    return;
  }
  const auto l = static_cast<std::size_t>(layer);
  const std::int64_t rows = b.k.size(0);
  cache->keys[l].narrow(0, cache->length, rows).copy_(b.k);
  cache->values[l].narrow(0, cache->length, rows).copy_(b.v);
  ops::attention_cached(shape, cache->length + rows, b.q, cache->keys[l], cache->values[l],
                        b.attention);
}

}  // namespace

void forward(const ModelConfig& c, const ModelParams& params, const Inputs& inputs,
             const ops::RopeTable& rope, Buffers& b, KeyValueCache* cache) {
  const profile::Scope scope("forward");
  const auto layers = static_cast<std::size_t>(c.num_layers);
  const bool training = b.layers.size() == layers && b.dx.defined();
  const auto layer_buffers = [&](std::size_t l) -> LayerBuffers& {
    return b.layers[training ? l : 0];
  };
  ops::embedding_forward(inputs.tokens, params.embedding, layer_buffers(0).x);
  if (c.num_layers > 0) {
    ops::add_rms_norm(layer_buffers(0).x, at::Tensor(), params.layers[0].input_norm, c.rms_norm_eps,
                      at::Tensor(), b.norm, layer_buffers(0).rstd_input);
  }
  for (std::size_t l = 0; l < layers; ++l) {
    const LayerParams& p = params.layers[l];
    LayerBuffers& a = layer_buffers(l);
    ops::linear_forward(b.norm, p.q, a.q);
    ops::linear_forward(b.norm, p.k, a.k);
    ops::linear_forward(b.norm, p.v, a.v);
    ops::rope_(a.q, c.head_dim, rope, inputs.positions, false);
    ops::rope_(a.k, c.head_dim, rope, inputs.positions, false);
    attend(c, a, inputs, static_cast<std::int64_t>(l), cache);
    ops::linear_forward(a.attention, p.o, b.delta);
    ops::add_rms_norm(a.x, b.delta, p.post_norm, c.rms_norm_eps, a.mid, b.norm, a.rstd_post);
    ops::linear_forward(b.norm, p.gate, a.gate);
    ops::linear_forward(b.norm, p.up, a.up);
    ops::gated_forward(c.activation, a.gate, a.up, b.hidden);
    ops::linear_forward(b.hidden, p.down, b.delta);
    const bool last = l + 1 == layers;
    ops::add_rms_norm(a.mid, b.delta, last ? params.final_norm : params.layers[l + 1].input_norm,
                      c.rms_norm_eps, last ? b.x_last : layer_buffers(l + 1).x, b.norm,
                      last ? b.rstd_last : layer_buffers(l + 1).rstd_input);
  }
  if (cache != nullptr) {
    cache->length += inputs.tokens.numel();
  }
}

void chunk_logits(const ModelConfig& config, const ModelParams& params, const at::Tensor& hidden_CD,
                  const at::Tensor& scaled_CD, const at::Tensor& logits_CV) {
  if (config.lm_head_normalization_factor == 1.0) {
    ops::linear_forward(hidden_CD, params.head, logits_CV);
    return;
  }
  at::Tensor scaled = scaled_CD;
  // A scalar in host memory, which CUDA kernels take as an argument.
  at::mul_out(scaled, hidden_CD,
              at::scalar_tensor(1.0 / config.lm_head_normalization_factor,
                                hidden_CD.options().device(at::kCPU)));
  ops::linear_forward(scaled_CD, params.head, logits_CV);
}

}  // namespace growmerge::transformer
