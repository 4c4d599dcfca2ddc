// What a model is: the numbers of a Hugging Face config.json, checked.
//
// One describe() drives reading and writing config.json, comparing, the warning about unknown keys
// and docs/config.md. What differs from family to family is in families.h; anything that is not
// understood is refused by name with what to do (kUnsupported); nothing is guessed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/base/config.h"

namespace growmerge {

enum class Activation { kSilu, kGelu, kGeluTanh };
/// As Transformers writes it: "silu", "gelu", "gelu_pytorch_tanh".
[[nodiscard]] const char* activation_name(Activation activation);
/// Every spelling in use; empty for any other name.
[[nodiscard]] std::optional<Activation> find_activation(const std::string& name);

enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongrope };

/// Rotary embedding (ops/rope.h). Which of the numbers below `theta` a type has, describe() says.
struct RopeParameters {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 8.0;
  double low_freq_factor = 1.0;  // llama3
  double high_freq_factor = 4.0;
  std::int64_t original_max_position_embeddings = 8192;
  std::optional<double> attention_factor;  // yarn, longrope: of cos and sin; absent: the paper's
  double beta_fast = 32.0;                 // yarn: rotations in the original context
  double beta_slow = 1.0;
  std::optional<double> mscale, mscale_all_dim;
  bool truncate = true;
  std::vector<double> short_factor, long_factor;  // longrope: of each frequency

  /// Errors: kUnsupported for a type that is not done here.
  void describe(FieldVisitor& v);
  bool operator==(const RopeParameters&) const = default;
};

/// Symbols: V vocab_size, d hidden_size, F intermediate_size, L num_layers, H num_heads, K
/// num_kv_heads, h head_dim.
struct ModelConfig {
  std::string architecture = "LlamaForCausalLM";
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 2048;
  Activation activation = Activation::kSilu;
  double rms_norm_eps = 1e-5;
  RopeParameters rope;
  RopeParameters local_rope;           // of layers with a window, where the family tells them apart
  double partial_rotary_factor = 1.0;  // share of a head that turns
  bool tie_word_embeddings = true;
  bool attention_bias = false;
  bool mlp_bias = false;
  std::optional<std::int64_t> sliding_window;  // keys that a query sees; absent: all before it
  bool use_sliding_window = false;             // Qwen, SmolLM3: whether the number above counts
  std::vector<std::string> layer_types;        // [L] which layers have it; empty: all
  std::vector<std::int64_t> no_rope_layers;    // [L] SmolLM3: 0 where there is no RoPE; empty: RoPE
  std::optional<std::int64_t> query_pre_attn_scalar;  // Gemma: scores are divided by its root
  std::optional<double> attn_logit_softcapping;       // c: scores become c tanh(score / c)
  std::optional<double> final_logit_softcapping;      // the same of logits
  double embedding_multiplier = 1.0;                  // Granite
  double residual_multiplier = 1.0;                   // of what a block adds to the residual stream
  double attention_multiplier = 0.0;                  // scale of scores; 0: 1 / sqrt(head_dim)
  double logits_scaling = 1.0;                        // divides logits
  double lm_head_normalization_factor = 1.0;          // HyperLlama: logits = h (W / factor)^T
  double initializer_range = 0.02;
  std::optional<std::int64_t> bos_token_id;
  std::vector<std::int64_t> eos_token_ids;
  std::string source_json;  // the whole config.json it came from (empty when made here); unknown
                            // keys are carried along

  /// Every number of config.json under its name there; fills in what others imply (KV heads, head
  /// dimension). Errors: kUnsupported for a value that is not done here.
  void describe(FieldVisitor& v);
  /// Errors: kInvalidArgument naming the first pair of numbers that do not fit.
  void validate() const;

  // What the numbers mean for the computation. Layers count from 0.
  [[nodiscard]] std::int64_t window_of(std::int64_t layer) const;  // 0: none
  [[nodiscard]] bool uses_rope(std::int64_t layer) const;
  [[nodiscard]] bool uses_local_rope(std::int64_t layer) const;
  [[nodiscard]] double attention_scale() const;   // of q k^T
  [[nodiscard]] double embedding_scale() const;   // of the embedding's rows
  [[nodiscard]] double head_divisor() const;      // of logits
  [[nodiscard]] std::int64_t rotary_dim() const;  // elements of a head that turn

  /// Equal in everything; see first_difference() for what decides the computation.
  bool operator==(const ModelConfig&) const = default;
};

/// The first described field in which two models compute differently, in its own words.
struct ConfigDifference {
  std::string key;
  std::string first;
  std::string second;
};
/// Empty where both compute the same from the same tensors: special tokens, the context length and
/// the spread of initial values may differ.
[[nodiscard]] std::optional<ConfigDifference> first_difference(const ModelConfig& first,
                                                               const ModelConfig& second);

/// Reads DIR/config.json or the file itself. Errors: kNotFound, kCorrupt (not JSON), kUnsupported
/// (named, with what to do).
[[nodiscard]] ModelConfig load_model_config(const std::filesystem::path& path);
[[nodiscard]] ModelConfig parse_model_config(const std::string& json_text, const std::string& name);
/// config.json text: source_json with the numbers above written over it. Transformers loads it.
[[nodiscard]] std::string model_config_json(const ModelConfig& config,
                                            const std::string& torch_dtype);

}  // namespace growmerge
