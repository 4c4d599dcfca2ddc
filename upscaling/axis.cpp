#include "upscaling/axis.h"

#include <charconv>
#include <string_view>

#include "core/base/error.h"

namespace growmerge::upscaling {
namespace {

struct Row {
  const char* suffix;  // what follows "model.layers.N." or the whole name
  const char* group;
  TensorKind kind;
  std::vector<std::vector<Axis>> dims;
  int input_dim;
};

const std::vector<Row>& layer_rows() {
  using enum Axis;
  using enum TensorKind;
  static const std::vector<Row> rows = {
      {"input_layernorm.weight", "input_layernorm", kNormGain, {{kResidual}}, -1},
      {"self_attn.q_proj.weight", "q_proj", kMatrix, {{kQHead, kHeadDim}, {kResidual}}, 1},
      {"self_attn.k_proj.weight", "k_proj", kMatrix, {{kKvHead, kHeadDim}, {kResidual}}, 1},
      {"self_attn.v_proj.weight", "v_proj", kMatrix, {{kKvHead, kHeadDim}, {kResidual}}, 1},
      {"self_attn.o_proj.weight", "o_proj", kMatrix, {{kResidual}, {kQHead, kHeadDim}}, 1},
      {"post_attention_layernorm.weight", "post_attention_layernorm", kNormGain, {{kResidual}}, -1},
      {"mlp.gate_proj.weight", "gate_proj", kMatrix, {{kFfn}, {kResidual}}, 1},
      {"mlp.up_proj.weight", "up_proj", kMatrix, {{kFfn}, {kResidual}}, 1},
      {"mlp.down_proj.weight", "down_proj", kMatrix, {{kResidual}, {kFfn}}, 1},
  };
  return rows;
}

const std::vector<Row>& outer_rows() {
  using enum Axis;
  using enum TensorKind;
  static const std::vector<Row> rows = {
      {"model.embed_tokens.weight", "embed_tokens", kEmbedding, {{kVocab}, {kResidual}}, -1},
      {"model.norm.weight", "norm", kFinalNormGain, {{kResidual}}, -1},
      {"lm_head.weight", "lm_head", kHead, {{kVocab}, {kResidual}}, 1},
  };
  return rows;
}

TensorAxes from_row(const Row& row, std::optional<std::int64_t> layer) {
  return {row.group, row.kind, row.dims, row.input_dim, layer};
}

}  // namespace

const char* axis_name(Axis axis) {
  static constexpr std::array<const char*, kNumAxes> names = {
      "none", "vocab", "residual", "q_head", "kv_head", "head_dim", "ffn", "layer"};
  return names[static_cast<std::size_t>(axis)];
}

TensorAxes tensor_axes(const std::string& name) {
  constexpr std::string_view kLayers = "model.layers.";
  for (const Row& row : outer_rows()) {
    if (name == row.suffix) {
      return from_row(row, std::nullopt);
    }
  }
  if (name.compare(0, kLayers.size(), kLayers) == 0) {
    std::int64_t layer = 0;
    const char* end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + kLayers.size(), end, layer);
    if (error == std::errc() && rest != end && *rest == '.') {
      const std::string_view suffix(rest + 1, static_cast<std::size_t>(end - rest - 1));
      for (const Row& row : layer_rows()) {
        if (suffix == row.suffix) {
          return from_row(row, layer);
        }
      }
    }
  }
  fail(ErrorCode::kUnsupported, "growth: tensor '", name,
       "' is not in the table of axes, so nobody knows how it grows; only the tensors of "
       "LlamaForCausalLM without biases are understood");
}

std::int64_t axis_size(const ModelConfig& config, Axis axis) {
  switch (axis) {
    case Axis::kNone:
      return 1;
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

std::int64_t AxisCopies::of(const std::vector<Axis>& dim) const {
  std::int64_t product = 1;
  for (const Axis axis : dim) {
    product *= of(axis);
  }
  return product;
}

AxisCopies width_copies(const ModelConfig& source, std::int64_t factor) {
  GM_CHECK(factor >= 1, kInvalidArgument, "growth: the width factor must be at least 1, got ",
           factor);
  const bool multi_query = source.num_kv_heads == 1 && source.num_heads > 1;
  AxisCopies copies;
  copies.set(Axis::kResidual, factor);
  copies.set(Axis::kQHead, factor);
  copies.set(Axis::kKvHead, multi_query ? 1 : factor);
  copies.set(Axis::kFfn, factor);
  return copies;
}

}  // namespace growmerge::upscaling
