// What a model is: the numbers of a Hugging Face config.json, checked.
//
// Understood: LlamaForCausalLM (silu, gelu, gelu_tanh gates; tied or untied head; MHA, GQA, MQA;
// RoPE with Llama 3 scaling) and the paper's HyperLlamaForCausalLM (lm_head_normalization_factor
// divides the head). Anything else is refused by name with what to do (kUnsupported); nothing is
// guessed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace growmerge {

enum class Activation { kSilu, kGelu, kGeluTanh };

/// RoPE scaling of Llama 3 ("rope_type": "llama3").
struct RopeScaling {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_position_embeddings = 8192;
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
  double rope_theta = 10000.0;
  std::optional<RopeScaling> rope_scaling;
  bool tie_word_embeddings = true;
  double lm_head_normalization_factor = 1.0;  // HyperLlama: logits = h (W / factor)^T
  double initializer_range = 0.02;
  std::optional<std::int64_t> bos_token_id;
  std::vector<std::int64_t> eos_token_ids;
  std::string source_json;  // the whole config.json it came from (empty when made here); unknown
                            // keys are carried along

  /// Errors: kInvalidArgument naming the first pair of numbers that do not fit.
  void validate() const;
};

/// Reads DIR/config.json or the file itself. Errors: kNotFound, kCorrupt (not JSON), kUnsupported
/// (named, with what to do).
[[nodiscard]] ModelConfig load_model_config(const std::filesystem::path& path);
[[nodiscard]] ModelConfig parse_model_config(const std::string& json_text, const std::string& name);
/// config.json text: source_json with the numbers above written over it. Transformers loads it.
[[nodiscard]] std::string model_config_json(const ModelConfig& config,
                                            const std::string& torch_dtype);

/// Every tensor name with its shape, in the canonical order: embed_tokens; per layer
/// input_layernorm, q, k, v, o, post_attention_layernorm, gate, up, down; norm; lm_head (untied
/// only).
[[nodiscard]] std::vector<std::pair<std::string, std::vector<std::int64_t>>> tensor_layout(
    const ModelConfig& config);
[[nodiscard]] std::int64_t num_parameters(const ModelConfig& config);

}  // namespace growmerge
