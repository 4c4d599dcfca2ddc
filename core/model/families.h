// Model families as data: a row each. What a family computes differently is a plain value of its
// row or of its defaults; the code asks for the value and never for the name.
//
// To add a family (docs/methods/model.md says it at length): its row here; a row of the tensor
// table for each new tensor; a part of the block that computes what is new, where something is; a
// line in the reference test.
#pragma once

#include <string>
#include <vector>

#include "core/model/model_config.h"

namespace growmerge {

/// Where a layer's norms stand: before each block, behind it (of what it adds to the residual
/// stream: OLMo 2, arXiv 2501.00656), or both (Gemma 2, arXiv 2408.00118).
enum class NormPlacement { kBefore, kBehind, kAround };
/// Norms of queries and keys (arXiv 2010.04245): none, of each head, or of all heads as one row.
enum class QkNorm { kNone, kHead, kWidth };
/// Which layers have the window where config.json has no layer_types.
enum class WindowLayers {
  kNone,
  kAll,               // all
  kButEveryNth,       // all but every `full_attention_interval`th
  kFromAnIndex,       // those from max_window_layers on
  kThoseWithoutRope,  // SmolLM3
};

struct Family {
  const char* architecture;  // of config.json's "architectures"
  const char* model_type;
  /// What Transformers' configuration class takes where config.json says nothing.
  ModelConfig defaults;
  /// Keys of ModelConfig::describe() that this family has beside those that all have. What a family
  /// has not is as its defaults say, and is neither read nor written.
  std::vector<const char*> own_keys;
  /// attention_bias means the output projection, too.
  bool attention_output_bias = true;
  NormPlacement norms = NormPlacement::kBefore;
  QkNorm qk_norm = QkNorm::kNone;
  double gain_offset = 0.0;       // added to every norm's gain
  bool scales_embedding = false;  // by sqrt(hidden_size)
  bool is_fused = false;          // qkv_proj, gate_up_proj
  bool has_local_rope = false;    // layers with a window have a RoPE of their own
  bool has_partial_rope = false;  // partial_rotary_factor counts
  const char* activation_key = "hidden_act";
  WindowLayers window_layers = WindowLayers::kNone;
  std::int64_t full_attention_interval = 0;
  bool needs_width_of_heads = false;  // Transformers refuses other hidden sizes than multiples of H
  /// The architecture that remains when growth has folded the head's factor into the weights.
  const char* folds_into = nullptr;
};

[[nodiscard]] const std::vector<Family>& families();
/// Null where there is none.
[[nodiscard]] const Family* find_family(const std::string& architecture);
/// Errors: kUnsupported naming those that are there.
[[nodiscard]] const Family& family_of(const std::string& architecture);
[[nodiscard]] inline const Family& family_of(const ModelConfig& config) {
  return family_of(config.architecture);
}
/// By its model_type; null where there is none.
[[nodiscard]] const Family* find_family_of_type(const std::string& model_type);

/// What is understood, as Markdown for docs/config.md: the families, and the keys of config.json.
[[nodiscard]] std::string model_config_docs();

/// Whether only some families have this key of ModelConfig::describe().
[[nodiscard]] bool is_own_key(const std::string& key);
[[nodiscard]] bool has_key(const Family& family, const std::string& key);

}  // namespace growmerge
