#include "core/model/model_config_keys.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "core/base/config.h"
#include "core/model/model_config.h"

namespace growmerge {
namespace {

constexpr const char* kExperts = "means a mixture of experts, which is not supported";
constexpr const char* kWithout = "is not supported: use a model without it";

using When = RefusedOption::When;
constexpr RefusedOption kRefused[] = {
    {"rope_interleaved", When::kTrue, kWithout},
    {"use_qk_norm", When::kTrue, kWithout},
    {"quantization_config", When::kPresent,
     "means quantised weights, which are not supported: save the model in bfloat16 or float32 "
     "first"},
    {"num_local_experts", When::kPresent, kExperts},
    {"num_experts", When::kPresent, kExperts},
    {"use_bidirectional_attention", When::kTrue, kWithout},
    {"lm_head_bias", When::kTrue, kWithout},
    {"use_mrope", When::kTrue, kWithout},
};

// Read beside what ModelConfig describes: other spellings, and what is refused by its value.
constexpr std::string_view kReadBeside[] = {
    "model_type",
    "rope_theta",
    "rope_scaling",
    "rope_local_base_freq",
    "original_max_position_embeddings",
    "max_window_layers",
    "sliding_window_pattern",
    "no_rope_layer_interval",
    "hidden_activation",
    "growmerge_growth",
};

// About storage, training, generation, tools or other kinds of model (Transformers writes its
// PretrainedConfig's defaults into old files).
constexpr std::string_view kHarmless[] = {
    "_name_or_path",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_sliding_window_pattern",
    "add_cross_attention",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "cache_implementation",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "full_attn_mod",
    "id2label",
    "interpolate_factor",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
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

/// Read or refused.
bool is_understood(const std::string& key) {
  static const std::set<std::string, std::less<>> keys = [] {
    std::set<std::string, std::less<>> out(std::begin(kReadBeside), std::end(kReadBeside));
    for (const RefusedOption& option : kRefused) {
      out.insert(option.key);
    }
    ModelConfig config;
    for (const DescribedField& field : list_fields([&](FieldVisitor& v) { config.describe(v); })) {
      out.insert(field.key.substr(0, field.key.find('.')));
    }
    return out;
  }();
  return keys.count(key) != 0;
}

template <std::size_t n>
bool holds(const std::string_view (&keys)[n], const std::string& key) {
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

}  // namespace

std::span<const RefusedOption> refused_options() { return kRefused; }

std::vector<std::string> unknown_config_keys(const std::string& json_text) {
  std::vector<std::string> out;
  const auto json = nlohmann::ordered_json::parse(json_text, nullptr, false);
  if (!json.is_object()) {
    return out;  // parse_model_config says what is wrong
  }
  for (const auto& [key, value] : json.items()) {
    const bool says_nothing = value.is_null() || value == "";
    if (!says_nothing && !is_understood(key) && !holds(kHarmless, key)) {
      out.push_back(key);
    }
  }
  return out;
}

std::string config_warning(const std::string& json_text, const std::string& name) {
  const auto json = nlohmann::ordered_json::parse(json_text, nullptr, false);
  const bool has_type = !json.is_object() || json.contains("model_type");
  const std::string no_type =
      has_type ? ""
               : name +
                     ": config.json has no model_type, by which Transformers finds a model's "
                     "class; the family is taken from architectures";
  const std::vector<std::string> keys = unknown_config_keys(json_text);
  std::string list;
  for (const std::string& key : keys) {
    list += (list.empty() ? "'" : ", '") + key + "'";
  }
  if (list.empty()) {
    return no_type;
  }
  return (no_type.empty() ? "" : no_type + ". ") + name +
         ": config.json has keys that are not known here and not acted on: " + list +
         ". If one of them changes what the model computes, its results here "
         "are wrong";
}

}  // namespace growmerge
