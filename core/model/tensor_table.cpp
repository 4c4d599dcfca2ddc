#include "core/model/tensor_table.h"

#include <array>
#include <charconv>
#include <string_view>

#include "core/base/error.h"
#include "core/model/families.h"

namespace growmerge {
namespace {

constexpr std::string_view kLayerPrefix = "model.layers.";

bool always(const ModelConfig&) { return true; }
bool when_untied(const ModelConfig& config) { return !config.tie_word_embeddings; }
bool with_attention_bias(const ModelConfig& config) { return config.attention_bias; }
// Qwen2 has biases of q, k and v alone; a Llama that has them has one of o as well.
bool with_attention_output_bias(const ModelConfig& config) {
  return config.attention_bias && family_of(config.architecture).attention_output_bias;
}
bool with_mlp_bias(const ModelConfig& config) { return config.mlp_bias; }
bool when_fused(const ModelConfig& config) { return family_of(config).is_fused; }
bool when_apart(const ModelConfig& config) { return !when_fused(config); }
bool with_norm_before(const ModelConfig& config) {
  return family_of(config).norms != NormPlacement::kBehind;
}
bool with_norm_before_alone(const ModelConfig& config) {
  return family_of(config).norms == NormPlacement::kBefore;
}
bool with_norm_around(const ModelConfig& config) {
  return family_of(config).norms == NormPlacement::kAround;
}
bool with_norm_behind(const ModelConfig& config) {
  return family_of(config).norms != NormPlacement::kBefore;
}
bool with_head_norm(const ModelConfig& config) {
  return family_of(config).qk_norm == QkNorm::kHead;
}
bool with_width_norm(const ModelConfig& config) {
  return family_of(config).qk_norm == QkNorm::kWidth;
}

std::vector<TensorRow> make_table() {
  using enum Axis;
  using enum Role;
  using enum Initial;
  using K = TensorKind;
  using B = Block;
  const std::vector<Axis> residual = {kResidual};
  const std::vector<Axis> queries = {kQHead, kHeadDim};
  const std::vector<Axis> keys = {kKvHead, kHeadDim};
  const std::vector<Axis> head = {kHeadDim};
  const std::vector<Axis> ffn = {kFfn};
  const std::vector<Axis> vocab = {kVocab};
  // clang-format off
  return {
      // role, name, kind, block, dims, summed dimension, initial values, decays, present, parts
      {kEmbedding, "model.embed_tokens.weight", K::kEmbedding, B::kEmbedding, {vocab, residual}, -1, kNormal, true, always},
      {kInputNorm, "input_layernorm.weight", K::kNormGain, B::kAttention, {residual}, -1, kOnes, false, with_norm_before},
      {kQuery, "self_attn.q_proj.weight", K::kMatrix, B::kAttention, {queries, residual}, 1, kNormal, true, when_apart},
      {kQueryBias, "self_attn.q_proj.bias", K::kBias, B::kAttention, {queries}, -1, kZeros, false, with_attention_bias},
      {kKey, "self_attn.k_proj.weight", K::kMatrix, B::kAttention, {keys, residual}, 1, kNormal, true, when_apart},
      {kKeyBias, "self_attn.k_proj.bias", K::kBias, B::kAttention, {keys}, -1, kZeros, false, with_attention_bias},
      {kValue, "self_attn.v_proj.weight", K::kMatrix, B::kAttention, {keys, residual}, 1, kNormal, true, when_apart},
      {kValueBias, "self_attn.v_proj.bias", K::kBias, B::kAttention, {keys}, -1, kZeros, false, with_attention_bias},
      {kFusedQkv, "self_attn.qkv_proj.weight", K::kMatrix, B::kAttention, {{}, residual}, 1, kNormal, true, when_fused, {kQuery, kKey, kValue}},
      {kQueryNorm, "self_attn.q_norm.weight", K::kNormGain, B::kAttention, {head}, -1, kOnes, false, with_head_norm},
      {kKeyNorm, "self_attn.k_norm.weight", K::kNormGain, B::kAttention, {head}, -1, kOnes, false, with_head_norm},
      {kQueryWidthNorm, "self_attn.q_norm.weight", K::kNormGain, B::kAttention, {queries}, -1, kOnes, false, with_width_norm},
      {kKeyWidthNorm, "self_attn.k_norm.weight", K::kNormGain, B::kAttention, {keys}, -1, kOnes, false, with_width_norm},
      {kAttentionOutput, "self_attn.o_proj.weight", K::kMatrix, B::kAttention, {residual, queries}, 1, kNormal, true, always},
      {kAttentionOutputBias, "self_attn.o_proj.bias", K::kBias, B::kAttention, {residual}, -1, kZeros, false, with_attention_output_bias},
      {kAttentionOutputNorm, "post_attention_layernorm.weight", K::kNormGain, B::kAttention, {residual}, -1, kOnes, false, with_norm_behind},
      {kPostAttentionNorm, "post_attention_layernorm.weight", K::kNormGain, B::kMlp, {residual}, -1, kOnes, false, with_norm_before_alone},
      {kMlpNorm, "pre_feedforward_layernorm.weight", K::kNormGain, B::kMlp, {residual}, -1, kOnes, false, with_norm_around},
      {kGate, "mlp.gate_proj.weight", K::kMatrix, B::kMlp, {ffn, residual}, 1, kNormal, true, when_apart},
      {kGateBias, "mlp.gate_proj.bias", K::kBias, B::kMlp, {ffn}, -1, kZeros, false, with_mlp_bias},
      {kUp, "mlp.up_proj.weight", K::kMatrix, B::kMlp, {ffn, residual}, 1, kNormal, true, when_apart},
      {kUpBias, "mlp.up_proj.bias", K::kBias, B::kMlp, {ffn}, -1, kZeros, false, with_mlp_bias},
      {kFusedGateUp, "mlp.gate_up_proj.weight", K::kMatrix, B::kMlp, {{}, residual}, 1, kNormal, true, when_fused, {kGate, kUp}},
      {kDown, "mlp.down_proj.weight", K::kMatrix, B::kMlp, {residual, ffn}, 1, kNormal, true, always},
      {kDownBias, "mlp.down_proj.bias", K::kBias, B::kMlp, {residual}, -1, kZeros, false, with_mlp_bias},
      {kMlpOutputNorm, "post_feedforward_layernorm.weight", K::kNormGain, B::kMlp, {residual}, -1, kOnes, false, with_norm_behind},
      {kFinalNorm, "model.norm.weight", K::kFinalNormGain, B::kFinalNorm, {residual}, -1, kOnes, false, always},
      {kHead, "lm_head.weight", K::kHead, B::kHead, {vocab, residual}, 1, kNormal, true, when_untied},
  };
  // clang-format on
}

std::string full_name(const TensorRow& row, std::int64_t layer) {
  return row.is_in_layer() ? std::string(kLayerPrefix) + std::to_string(layer) + "." + row.name
                           : row.name;
}

}  // namespace

const char* axis_name(Axis axis) {
  static constexpr std::array<const char*, kNumAxes> names = {
      "vocab", "residual", "q_head", "kv_head", "head_dim", "ffn", "layer"};
  return names[static_cast<std::size_t>(axis)];
}

std::int64_t axis_size(const ModelConfig& config, Axis axis) {
  switch (axis) {
    case Axis::kVocab:
      return config.vocab_size;
    case Axis::kResidual:
      return config.hidden_size;
    case Axis::kQHead:
      return config.num_heads;
    case Axis::kKvHead:
      return config.num_kv_heads;
    case Axis::kHeadDim:
      return config.head_dim;
    case Axis::kFfn:
      return config.intermediate_size;
    case Axis::kLayer:
      return config.num_layers;
  }
  GM_ASSERT(false);
}

std::string TensorRow::group() const {
  constexpr std::string_view kWeight = ".weight";
  std::string_view stem = name;
  if (stem.ends_with(kWeight)) {
    stem.remove_suffix(kWeight.size());
  }
  const std::size_t last = kind == TensorKind::kBias ? stem.rfind('.') - 1 : stem.size();
  return std::string(stem.substr(stem.rfind('.', last) + 1));
}

const std::vector<TensorRow>& tensor_table() {
  static const std::vector<TensorRow> table = make_table();
  return table;
}

const TensorRow& tensor_row(Role role) {
  const TensorRow& row = tensor_table()[static_cast<std::size_t>(role)];
  GM_ASSERT(row.role == role);  // rows stand in the order of the roles
  return row;
}

std::string tensor_name(Role role, std::int64_t layer) {
  return full_name(tensor_row(role), layer);
}

std::string head_tensor_name(const ModelConfig& config) {
  return tensor_name(config.tie_word_embeddings ? Role::kEmbedding : Role::kHead);
}

std::optional<TensorPlace> find_tensor(const std::string& name, const ModelConfig* config) {
  std::string_view suffix = name;
  std::optional<std::int64_t> layer;
  if (suffix.starts_with(kLayerPrefix)) {
    const char* end = name.data() + name.size();
    std::int64_t number = 0;
    const auto [rest, error] = std::from_chars(name.data() + kLayerPrefix.size(), end, number);
    if (error != std::errc() || rest == end || *rest != '.') {
      return std::nullopt;
    }
    layer = number;
    suffix = std::string_view(rest + 1, static_cast<std::size_t>(end - rest - 1));
  }
  // Some thirty rows: a search is no slower than a map, and keeps one table.
  for (const TensorRow& row : tensor_table()) {
    if (row.is_in_layer() == layer.has_value() && suffix == row.name &&
        (config == nullptr || row.is_present(*config))) {
      return TensorPlace{&row, layer};
    }
  }
  return std::nullopt;
}

TensorPlace tensor_place(const std::string& name, const ModelConfig* config) {
  const std::optional<TensorPlace> place = find_tensor(name, config);
  GM_CHECK(place.has_value(), kUnsupported, "tensor '", name,
           "' is not in the table of axes (core/model/tensor_table.cpp), so nobody knows what "
           "its dimensions mean or how it grows");
  return *place;
}

std::int64_t TensorSpec::num_elements() const {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    count *= size;
  }
  return count;
}

Initial initial_values(const ModelConfig& config, const TensorRow& row) {
  // A gain of 1 is 0 where 1 is added to it.
  const bool is_offset = row.initial == Initial::kOnes && family_of(config).gain_offset == 1.0;
  return is_offset ? Initial::kZeros : row.initial;
}

std::vector<std::int64_t> tensor_shape(const ModelConfig& config, const TensorRow& row) {
  std::vector<std::int64_t> shape;
  for (const std::vector<Axis>& dim : row.dims) {
    shape.push_back(1);
    for (const Axis axis : dim) {
      shape.back() *= axis_size(config, axis);
    }
  }
  if (!row.parts.empty()) {
    shape[0] = 0;
    for (const Role part : row.parts) {
      shape[0] += tensor_shape(config, tensor_row(part))[0];
    }
  }
  return shape;
}

std::vector<TensorSpec> model_tensors(const ModelConfig& config) {
  std::vector<TensorSpec> out;
  const auto add = [&](const TensorRow& row, std::optional<std::int64_t> layer) {
    if (row.is_present(config)) {
      out.push_back(
          {full_name(row, layer.value_or(0)), tensor_shape(config, row), TensorPlace{&row, layer}});
    }
  };
  // Rows before, in and behind the layers; a layer's are repeated as one block.
  const std::vector<TensorRow>& table = tensor_table();
  std::size_t i = 0;
  for (; !table[i].is_in_layer(); ++i) {
    add(table[i], std::nullopt);
  }
  const std::size_t first = i;
  std::size_t last = first;
  while (table[last].is_in_layer()) {
    ++last;
  }
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (i = first; i < last; ++i) {
      add(table[i], layer);
    }
  }
  for (i = last; i < table.size(); ++i) {
    add(table[i], std::nullopt);
  }
  return out;
}

std::int64_t num_parameters(const ModelConfig& config) {
  std::int64_t total = 0;
  for (const TensorSpec& tensor : model_tensors(config)) {
    total += tensor.num_elements();
  }
  return total;
}

}  // namespace growmerge
