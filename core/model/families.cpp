#include "core/model/families.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/base/error.h"

namespace growmerge {
namespace {

/// What LlamaConfig of Transformers takes where config.json is silent.
// Numbers that must be in the file stay 0 here, which is how the reader knows.
ModelConfig llama_defaults(const char* architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.max_position_embeddings = 2048;
  config.rms_norm_eps = 1e-6;
  config.tie_word_embeddings = false;
  return config;
}

/// MistralConfig and MinistralConfig: a window unless the file says null.
ModelConfig mistral_defaults(const char* architecture) {
  ModelConfig config = llama_defaults(architecture);
  config.max_position_embeddings = 131072;
  config.num_kv_heads = 8;
  config.sliding_window = 4096;
  return config;
}

/// Qwen2Config; queries, keys and values always have biases. Qwen3Config has none by default.
ModelConfig qwen_defaults(const char* architecture, bool is_2) {
  ModelConfig config = llama_defaults(architecture);
  config.max_position_embeddings = 32768;
  config.num_kv_heads = 32;
  config.attention_bias = is_2;
  config.head_dim = is_2 ? 0 : 128;
  config.sliding_window = 4096;
  return config;
}

ModelConfig olmo_defaults(const char* architecture, bool is_3) {
  ModelConfig config = llama_defaults(architecture);
  config.rms_norm_eps = 1e-5;
  if (is_3) {
    config.sliding_window = 4096;
    config.rope.theta = config.local_rope.theta = 500000.0;
  }
  return config;
}

ModelConfig smollm3_defaults() {
  ModelConfig config = llama_defaults("SmolLM3ForCausalLM");
  config.max_position_embeddings = 32768;
  config.num_kv_heads = 4;
  config.rope.theta = 2000000.0;
  config.tie_word_embeddings = true;
  return config;
}

/// Gemma2Config and Gemma3TextConfig.
ModelConfig gemma_defaults(const char* architecture, bool is_3) {
  ModelConfig config = llama_defaults(architecture);
  config.max_position_embeddings = is_3 ? 131072 : 8192;
  config.num_kv_heads = 4;
  config.head_dim = 256;
  config.activation = Activation::kGeluTanh;
  config.tie_word_embeddings = true;
  config.sliding_window = 4096;
  config.query_pre_attn_scalar = 256;
  if (is_3) {
    config.rope.theta = 1000000.0;
  } else {
    config.attn_logit_softcapping = 50.0;
    config.final_logit_softcapping = 30.0;
  }
  return config;
}

ModelConfig granite_defaults() {
  ModelConfig config = llama_defaults("GraniteForCausalLM");
  config.attention_multiplier = 1.0;
  return config;
}

ModelConfig phi3_defaults() {
  ModelConfig config = llama_defaults("Phi3ForCausalLM");
  config.max_position_embeddings = 4096;
  config.rms_norm_eps = 1e-5;
  return config;
}

std::vector<Family> llama_kin() {
  return {
      {.architecture = "LlamaForCausalLM",
       .model_type = "llama",
       .defaults = llama_defaults("LlamaForCausalLM"),
       .own_keys = {"attention_bias", "mlp_bias"},
       .needs_width_of_heads = true},
      // The paper's own (arXiv 2512.10772): a Llama whose head is divided by a number.
      {.architecture = "HyperLlamaForCausalLM",
       .model_type = "hyperllama",
       .defaults = llama_defaults("HyperLlamaForCausalLM"),
       .own_keys = {"attention_bias", "mlp_bias", "lm_head_normalization_factor"},
       .needs_width_of_heads = true,
       .folds_into = "LlamaForCausalLM"},
      {.architecture = "MistralForCausalLM",
       .model_type = "mistral",
       .defaults = mistral_defaults("MistralForCausalLM"),
       .own_keys = {"sliding_window"},
       .window_layers = WindowLayers::kAll},
      {.architecture = "MinistralForCausalLM",
       .model_type = "ministral",
       .defaults = mistral_defaults("MinistralForCausalLM"),
       .own_keys = {"sliding_window", "layer_types"},
       .window_layers = WindowLayers::kAll},
      {.architecture = "GraniteForCausalLM",
       .model_type = "granite",
       .defaults = granite_defaults(),
       .own_keys = {"attention_bias", "mlp_bias", "embedding_multiplier", "residual_multiplier",
                    "attention_multiplier", "logits_scaling"}},
      {.architecture = "SmolLM3ForCausalLM",
       .model_type = "smollm3",
       .defaults = smollm3_defaults(),
       .own_keys = {"attention_bias", "mlp_bias", "sliding_window", "use_sliding_window",
                    "layer_types", "no_rope_layers"},
       .window_layers = WindowLayers::kThoseWithoutRope},
      {.architecture = "Phi3ForCausalLM",
       .model_type = "phi3",
       .defaults = phi3_defaults(),
       .own_keys = {"sliding_window", "partial_rotary_factor"},
       .is_fused = true,
       .has_partial_rope = true,
       .window_layers = WindowLayers::kAll},
  };
}

std::vector<Family> qwen_kin() {
  return {
      {.architecture = "Qwen2ForCausalLM",
       .model_type = "qwen2",
       .defaults = qwen_defaults("Qwen2ForCausalLM", true),
       .own_keys = {"sliding_window", "use_sliding_window", "layer_types"},
       .attention_output_bias = false,
       .window_layers = WindowLayers::kFromAnIndex},
      {.architecture = "Qwen3ForCausalLM",
       .model_type = "qwen3",
       .defaults = qwen_defaults("Qwen3ForCausalLM", false),
       .own_keys = {"attention_bias", "sliding_window", "use_sliding_window", "layer_types"},
       .qk_norm = QkNorm::kHead,
       .window_layers = WindowLayers::kFromAnIndex},
  };
}

std::vector<Family> kin_with_norms_behind() {
  return {
      {.architecture = "Olmo2ForCausalLM",
       .model_type = "olmo2",
       .defaults = olmo_defaults("Olmo2ForCausalLM", false),
       .own_keys = {"attention_bias"},
       .norms = NormPlacement::kBehind,
       .qk_norm = QkNorm::kWidth},
      {.architecture = "Olmo3ForCausalLM",
       .model_type = "olmo3",
       .defaults = olmo_defaults("Olmo3ForCausalLM", true),
       .own_keys = {"attention_bias", "sliding_window", "layer_types", "local_rope_parameters"},
       .norms = NormPlacement::kBehind,
       .qk_norm = QkNorm::kWidth,
       .has_local_rope = true,
       .window_layers = WindowLayers::kButEveryNth,
       .full_attention_interval = 4},
      {.architecture = "Gemma2ForCausalLM",
       .model_type = "gemma2",
       .defaults = gemma_defaults("Gemma2ForCausalLM", false),
       .own_keys = {"attention_bias", "sliding_window", "layer_types", "query_pre_attn_scalar",
                    "attn_logit_softcapping", "final_logit_softcapping"},
       .norms = NormPlacement::kAround,
       .gain_offset = 1.0,
       .scales_embedding = true,
       .activation_key = "hidden_activation",
       .window_layers = WindowLayers::kButEveryNth,
       .full_attention_interval = 2,
       .needs_width_of_heads = true},
      {.architecture = "Gemma3ForCausalLM",
       .model_type = "gemma3_text",
       .defaults = gemma_defaults("Gemma3ForCausalLM", true),
       .own_keys = {"attention_bias", "sliding_window", "layer_types", "query_pre_attn_scalar",
                    "attn_logit_softcapping", "final_logit_softcapping", "local_rope_parameters"},
       .norms = NormPlacement::kAround,
       .qk_norm = QkNorm::kHead,
       .gain_offset = 1.0,
       .scales_embedding = true,
       .has_local_rope = true,
       .activation_key = "hidden_activation",
       .window_layers = WindowLayers::kButEveryNth,
       .full_attention_interval = 6,
       .needs_width_of_heads = true},
  };
}

std::vector<Family> make_families() {
  std::vector<Family> rows;
  for (std::vector<Family>& kin : std::array{llama_kin(), qwen_kin(), kin_with_norms_behind()}) {
    rows.insert(rows.end(), kin.begin(), kin.end());
  }
  return rows;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> rows = make_families();
  return rows;
}

const Family* find_family(const std::string& architecture) {
  const auto it = std::find_if(families().begin(), families().end(), [&](const Family& family) {
    return family.architecture == architecture;
  });
  return it == families().end() ? nullptr : &*it;
}

const Family* find_family_of_type(const std::string& model_type) {
  const auto it = std::find_if(families().begin(), families().end(), [&](const Family& family) {
    return family.model_type == model_type;
  });
  return it == families().end() ? nullptr : &*it;
}

const Family& family_of(const std::string& architecture) {
  if (const Family* family = find_family(architecture)) {
    return *family;
  }
  std::string known;
  for (const Family& family : families()) {
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  }
  fail(ErrorCode::kUnsupported, "architecture '", architecture, "' is not supported, only ", known,
       " are: use a Llama model (SmolLM2, Llama 2 and 3, ...) or another of these, or export this "
       "one "
       "as Llama where its layers allow it");
}

std::string model_config_docs() {
  std::string out =
      "Models that are understood, by `architectures` of their config.json:\n\n"
      "| architecture | model_type | keys that not all have |\n|---|---|---|\n";
  for (const Family& family : families()) {
    std::string keys;
    for (const char* key : family.own_keys) {
      keys += (keys.empty() ? "`" : ", `") + std::string(key) + "`";
    }
    out += concat("| ", family.architecture, " | ", family.model_type, " | ", keys, " |\n");
  }
  out +=
      "\nKeys of config.json that are acted on, with the defaults of LlamaForCausalLM (0 has to be "
      "given, or follows from the others):\n\n"
      "| key | default | unit | meaning |\n|---|---|---|---|\n";
  ModelConfig config = families().front().defaults;
  return out + document_fields([&config](FieldVisitor& v) { config.describe(v); });
}

bool has_key(const Family& family, const std::string& key) {
  return std::any_of(family.own_keys.begin(), family.own_keys.end(),
                     [&](const char* own) { return key == own; });
}

bool is_own_key(const std::string& key) {
  return std::any_of(families().begin(), families().end(),
                     [&](const Family& family) { return has_key(family, key); });
}

}  // namespace growmerge
