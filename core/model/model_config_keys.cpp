#include "core/model/model_config_keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

namespace growmerge {
namespace {

// Read, or refused where they ask for more than Llama (model_config.cpp).
constexpr std::string_view kUnderstood[] = {
    "architectures",
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "max_position_embeddings",
    "tie_word_embeddings",
    "initializer_range",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "lm_head_normalization_factor",
    "bos_token_id",
    "eos_token_id",
    "attention_bias",
    "mlp_bias",
    "rope_interleaved",
    "use_qk_norm",
    "sliding_window",
    "use_sliding_window",
    "layer_types",
    "quantization_config",
    "num_local_experts",
    "num_experts",
    "logits_scaling",
    "attn_logit_softcapping",
    "residual_multiplier",
    "final_logit_softcapping",
    "attention_multiplier",
    "embedding_multiplier",
    "growmerge_growth",
    "partial_rotary_factor",
};

// About storage, training, generation, tools or other kinds of model (Transformers writes its
// PretrainedConfig's defaults into old files).
constexpr std::string_view kHarmless[] = {
    "_name_or_path",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "add_cross_attention",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_window_layers",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
};

template <std::size_t n>
bool holds(const std::string_view (&keys)[n], const std::string& key) {
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

}  // namespace

std::vector<std::string> unknown_config_keys(const std::string& json_text) {
  std::vector<std::string> out;
  const auto json = nlohmann::ordered_json::parse(json_text, nullptr, false);
  if (!json.is_object()) {
    return out;  // parse_model_config says what is wrong
  }
  for (const auto& [key, value] : json.items()) {
    const bool says_nothing = value.is_null() || value == "";
    if (!says_nothing && !holds(kUnderstood, key) && !holds(kHarmless, key)) {
      out.push_back(key);
    }
  }
  return out;
}

std::string unknown_keys_warning(const std::string& json_text, const std::string& name) {
  const std::vector<std::string> keys = unknown_config_keys(json_text);
  std::string list;
  for (const std::string& key : keys) {
    list += (list.empty() ? "'" : ", '") + key + "'";
  }
  return list.empty()
             ? list
             : name + ": config.json has keys that are not known here and not acted on: " + list +
                   ". If one of them changes what the model computes, its results here "
                   "are wrong";
}

}  // namespace growmerge
