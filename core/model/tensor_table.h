// The tensors of a model, described once: a row per role. Layout, binding, the order in which
// gradients are reported, initial values, weight decay, FLOPs, growth, and whatever else must know
// a tensor are derived from these rows; a tensor name stands nowhere else in the rooms.
//
// A dimension is a product of axes, outermost first: the rows of q_proj are q_head x head_dim, its
// columns are residual. A dimension that a matrix product sums over is its input: copies of an
// input are divided among themselves. An embedding looks its rows up, so it has no input. The rows
// of a fused tensor are those of its parts, one part behind another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model/model_config.h"

namespace growmerge {

enum class Axis { kVocab, kResidual, kQHead, kKvHead, kHeadDim, kFfn, kLayer };
inline constexpr std::size_t kNumAxes = 7;
[[nodiscard]] const char* axis_name(Axis axis);
/// Number of elements along an axis of this model.
[[nodiscard]] std::int64_t axis_size(const ModelConfig& config, Axis axis);

/// Rows stand in this order, and kNumRoles counts them.
enum class Role {
  kEmbedding,
  kInputNorm,
  kQuery,
  kQueryBias,
  kKey,
  kKeyBias,
  kValue,
  kValueBias,
  kFusedQkv,  // the rows of q, k and v, one behind another
  kQueryNorm,
  kKeyNorm,
  kQueryWidthNorm,
  kKeyWidthNorm,
  kAttentionOutput,
  kAttentionOutputBias,
  kAttentionOutputNorm,  // behind the block
  kPostAttentionNorm,    // Llama's name of the norm before the MLP
  kMlpNorm,              // the same where that name is the norm behind attention
  kGate,
  kGateBias,
  kUp,
  kUpBias,
  kFusedGateUp,
  kDown,
  kDownBias,
  kMlpOutputNorm,
  kFinalNorm,
  kHead,
};
inline constexpr std::size_t kNumRoles = 28;

enum class TensorKind { kEmbedding, kNormGain, kFinalNormGain, kMatrix, kBias, kHead };
/// What computes with it, in the order of the forward pass. Attention and MLP are a layer's.
enum class Block { kEmbedding, kAttention, kMlp, kFinalNorm, kHead };
enum class Initial { kNormal, kOnes, kZeros };  // N(0, initializer_range^2) or a constant

struct TensorRow {
  Role role;
  const char* name;  // the whole name, or what follows "model.layers.N." where a layer has one
  TensorKind kind;
  Block block;
  std::vector<std::vector<Axis>> dims;  // axes of each dimension, outermost first
  int summed_dim;                       // the dimension that a product sums over, or -1
  Initial initial;
  bool decays;                             // weight decay is meant for it
  bool (*is_present)(const ModelConfig&);  // in this model
  std::vector<Role> parts = {};            // a fused tensor's, whose rows follow one another

  [[nodiscard]] bool is_in_layer() const {
    return block == Block::kAttention || block == Block::kMlp;
  }
  /// "q_proj", "q_proj.bias", "embed_tokens": the name of its group in telemetry.
  [[nodiscard]] std::string group() const;
};

/// All rows in the canonical order: embedding, a layer's, final norm, head.
[[nodiscard]] const std::vector<TensorRow>& tensor_table();
[[nodiscard]] const TensorRow& tensor_row(Role role);

/// "model.layers.3.self_attn.q_proj.weight"; `layer` counts where the role is a layer's.
[[nodiscard]] std::string tensor_name(Role role, std::int64_t layer = 0);
/// The tensor that the head multiplies with: the embedding where it is tied.
[[nodiscard]] std::string head_tensor_name(const ModelConfig& config);

/// Where a name stands in the table.
struct TensorPlace {
  const TensorRow* row = nullptr;
  std::optional<std::int64_t> layer;  // place on the layer axis, which lies in the name
};
/// Empty where no row has this name. Families give some names to different tensors: without the
/// model's config any of these is found, which are alike in kind, decay and in being a layer's.
[[nodiscard]] std::optional<TensorPlace> find_tensor(const std::string& name,
                                                     const ModelConfig* config = nullptr);
/// Errors: kUnsupported naming a tensor that the table does not know.
[[nodiscard]] TensorPlace tensor_place(const std::string& name,
                                       const ModelConfig* config = nullptr);

/// One tensor of one model.
struct TensorSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  TensorPlace place;
  [[nodiscard]] std::int64_t num_elements() const;
};
/// What the tensor's elements are where it is not random: kNormal, or the constant to fill it with.
[[nodiscard]] Initial initial_values(const ModelConfig& config, const TensorRow& row);
[[nodiscard]] std::vector<std::int64_t> tensor_shape(const ModelConfig& config,
                                                     const TensorRow& row);
/// All tensors of a model in the canonical order: embedding; per layer the rows of a layer; final
/// norm; head (untied only).
[[nodiscard]] std::vector<TensorSpec> model_tensors(const ModelConfig& config);
[[nodiscard]] std::int64_t num_parameters(const ModelConfig& config);

}  // namespace growmerge
