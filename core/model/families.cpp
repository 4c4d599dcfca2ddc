#include "core/model/families.h"

#include <algorithm>
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

/// What Qwen2Config takes where config.json is silent. Queries, keys and values always have biases.
ModelConfig qwen2_defaults() {
  ModelConfig config = llama_defaults("Qwen2ForCausalLM");
  config.max_position_embeddings = 32768;
  config.attention_bias = true;
  return config;
}

std::vector<Family> make_families() {
  return {
      {.architecture = "LlamaForCausalLM",
       .model_type = "llama",
       .defaults = llama_defaults("LlamaForCausalLM"),
       .own_keys = {"attention_bias", "mlp_bias"}},
      // The paper's own (arXiv 2512.10772): a Llama whose head is divided by a number.
      {.architecture = "HyperLlamaForCausalLM",
       .model_type = "hyperllama",
       .defaults = llama_defaults("HyperLlamaForCausalLM"),
       .own_keys = {"attention_bias", "mlp_bias", "lm_head_normalization_factor"},
       .folds_into = "LlamaForCausalLM"},
      {.architecture = "Qwen2ForCausalLM",
       .model_type = "qwen2",
       .defaults = qwen2_defaults(),
       .own_keys = {},
       .uses_sliding_window = false,
       .attention_output_bias = false},
  };
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
       " are: use a Llama model (SmolLM2, Llama 2 and 3, ...), or export this one as Llama where "
       "its layers allow it");
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
