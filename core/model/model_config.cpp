#include "core/model/model_config.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"

namespace growmerge {
namespace {

using Json = nlohmann::ordered_json;

/// A config.json with its name, for messages.
struct Source {
  const Json& json;
  const std::string& name;

  template <class... Parts>
  [[noreturn]] void unsupported(const Parts&... parts) const {
    fail(ErrorCode::kUnsupported, name, ": ", parts...);
  }
  [[nodiscard]] const Json* find(const char* key) const {
    const auto it = json.find(key);
    return it == json.end() || it->is_null() ? nullptr : &*it;
  }
  [[noreturn]] void wrong(const char* key, const char* expected, const Json& got) const {
    fail(ErrorCode::kCorrupt, name, ": '", key, "' must be ", expected, ", got ",
         got.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  [[nodiscard]] std::int64_t whole(const char* key) const {
    const Json* value = find(key);
    GM_CHECK(value != nullptr, kCorrupt, name, ": key '", key, "' is missing");
    if (!value->is_number_integer() ||
        (value->is_number_unsigned() && value->get<std::uint64_t>() > (std::uint64_t{1} << 62))) {
      wrong(key, "a whole number", *value);
    }
    return value->get<std::int64_t>();
  }
  [[nodiscard]] std::int64_t whole(const char* key, std::int64_t otherwise) const {
    return find(key) == nullptr ? otherwise : whole(key);
  }
  [[nodiscard]] double number(const char* key, double otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) {
      return otherwise;
    }
    if (!value->is_number()) {
      wrong(key, "a number", *value);
    }
    return value->get<double>();
  }
  [[nodiscard]] bool flag(const char* key, bool otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) {
      return otherwise;
    }
    if (!value->is_boolean()) {
      wrong(key, "true or false", *value);
    }
    return value->get<bool>();
  }
  [[nodiscard]] std::string text(const char* key, const std::string& otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) {
      return otherwise;
    }
    if (!value->is_string()) {
      wrong(key, "a string", *value);
    }
    return value->get<std::string>();
  }
};

std::string architecture_of(const Source& source) {
  const Json* list = source.find("architectures");
  std::string name;
  if (list != nullptr && list->is_array() && list->size() == 1 && (*list)[0].is_string()) {
    name = (*list)[0].get<std::string>();
  } else if (list == nullptr) {
    const std::string type = source.text("model_type", "");
    name = type == "llama" ? "LlamaForCausalLM" : type;
    GM_CHECK(!name.empty(), kCorrupt, source.name,
             ": neither 'architectures' nor 'model_type' says what this model is");
  } else {
    source.wrong("architectures", "a list of one name", *list);
  }
  if (name != "LlamaForCausalLM" && name != "HyperLlamaForCausalLM") {
    source.unsupported("architecture '", name,
                       "' is not supported, only LlamaForCausalLM and HyperLlamaForCausalLM are: "
                       "use a Llama model (SmolLM2, Llama 2 and 3, ...), or export this one as "
                       "Llama where its layers allow it");
  }
  return name;
}

Activation activation_of(const Source& source) {
  const std::string name = source.text("hidden_act", "silu");
  if (name == "silu" || name == "swish") {
    return Activation::kSilu;
  }
  if (name == "gelu") {
    return Activation::kGelu;
  }
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_tanh") {
    return Activation::kGeluTanh;
  }
  source.unsupported("hidden_act '", name,
                     "' is not supported, only silu, gelu and gelu_pytorch_tanh are");
}

/// Options that change what the model computes and that are not done here.
void refuse_unsupported_options(const Source& source) {
  for (const char* key : {"attention_bias", "mlp_bias", "rope_interleaved", "use_qk_norm"}) {
    if (source.flag(key, false)) {
      source.unsupported("'", key, ": true' is not supported: use a model without it");
    }
  }
  if (source.find("sliding_window") != nullptr && source.flag("use_sliding_window", true)) {
    source.unsupported(
        "'sliding_window' is not supported (attention here sees all earlier "
        "tokens): set it to null only if the model was trained without it");
  }
  if (const Json* types = source.find("layer_types")) {
    for (const Json& type : *types) {
      if (type != "full_attention") {
        source.unsupported("'layer_types' holds ", type.dump(), ", only full_attention is done");
      }
    }
  }
  if (source.find("quantization_config") != nullptr) {
    source.unsupported(
        "'quantization_config': quantised weights are not supported, save the "
        "model in bfloat16 or float32 first");
  }
  for (const char* key :
       {"num_local_experts", "num_experts", "attn_logit_softcapping", "final_logit_softcapping",
        "embedding_multiplier", "residual_multiplier", "logits_scaling", "attention_multiplier"}) {
    if (source.find(key) != nullptr) {
      source.unsupported("'", key, "' is not part of a Llama model and is not supported");
    }
  }
  if (source.number("partial_rotary_factor", 1.0) != 1.0) {
    source.unsupported("'partial_rotary_factor' other than 1 is not supported");
  }
}

/// Reads "rope_theta" and "rope_scaling", or the newer "rope_parameters" that holds both.
void read_rope(const Source& source, ModelConfig& config) {
  config.rope_theta = source.number("rope_theta", 10000.0);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* node = source.find(key);
    if (node == nullptr) {
      continue;
    }
    if (!node->is_object()) {
      source.wrong(key, "a map", *node);
    }
    const std::string inner_name = source.name + ": " + key;
    const Source rope{*node, inner_name};
    config.rope_theta = rope.number("rope_theta", config.rope_theta);
    const std::string type = rope.text("rope_type", rope.text("type", "default"));
    if (type != "default" && type != "llama3") {
      rope.unsupported(
          "RoPE scaling of type '", type,
          "' is not supported, only default and llama3 are: for another type, use "
          "the model inside its original context without scaling (rope_scaling: null)");
    }
    if (rope.number("partial_rotary_factor", 1.0) != 1.0) {
      rope.unsupported("'partial_rotary_factor' other than 1 is not supported");
    }
    if (type == "llama3") {
      for (const char* needed :
           {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
        GM_CHECK(rope.find(needed) != nullptr, kCorrupt, inner_name, ": key '", needed,
                 "' is missing");
      }
      config.rope_scaling = RopeScaling{
          .factor = rope.number("factor", 0.0),
          .low_freq_factor = rope.number("low_freq_factor", 0.0),
          .high_freq_factor = rope.number("high_freq_factor", 0.0),
          .original_max_position_embeddings = rope.whole("original_max_position_embeddings")};
    }
  }
}

void read_special_tokens(const Source& source, ModelConfig& config) {
  if (source.find("bos_token_id") != nullptr) {
    config.bos_token_id = source.whole("bos_token_id");
  }
  if (const Json* eos = source.find("eos_token_id")) {
    for (const Json& id : eos->is_array() ? *eos : Json::array({*eos})) {
      if (!id.is_number_integer()) {
        source.wrong("eos_token_id", "a whole number or a list of them", *eos);
      }
      config.eos_token_ids.push_back(id.get<std::int64_t>());
    }
  }
}

const char* activation_name(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_pytorch_tanh";
  }
  return "silu";
}

void write_rope(const ModelConfig& config, Json& json) {
  Json parameters = {{"rope_type", "default"}, {"rope_theta", config.rope_theta}};
  json["rope_theta"] = config.rope_theta;
  json["rope_scaling"] = nullptr;
  if (config.rope_scaling) {
    const RopeScaling& scaling = *config.rope_scaling;
    const Json fields = {
        {"factor", scaling.factor},
        {"low_freq_factor", scaling.low_freq_factor},
        {"high_freq_factor", scaling.high_freq_factor},
        {"original_max_position_embeddings", scaling.original_max_position_embeddings}};
    parameters["rope_type"] = "llama3";
    parameters.update(fields);
    json["rope_scaling"] = fields;
    json["rope_scaling"]["rope_type"] = "llama3";
    json["rope_scaling"]["rope_theta"] = config.rope_theta;
  }
  json["rope_parameters"] = parameters;
}

}  // namespace

void ModelConfig::validate() const {
  const auto positive = [](const char* name, std::int64_t value) {
    GM_CHECK(value > 0, kInvalidArgument, "model config: ", name, " is ", value,
             ", expected at least 1");
    // Keeps every product of two sizes inside 64 bits.
    GM_CHECK(value <= std::numeric_limits<std::int32_t>::max(), kInvalidArgument,
             "model config: ", name, " is ", value, ", larger than any model");
  };
  positive("vocab_size", vocab_size);
  positive("hidden_size", hidden_size);
  positive("intermediate_size", intermediate_size);
  positive("num_hidden_layers", num_layers);
  // Every layer's tensors are listed before the file is asked for them.
  GM_CHECK(num_layers <= 10'000, kInvalidArgument, "model config: num_hidden_layers is ",
           num_layers, ", larger than any model");
  positive("num_attention_heads", num_heads);
  positive("num_key_value_heads", num_kv_heads);
  positive("head_dim", head_dim);
  positive("max_position_embeddings", max_position_embeddings);
  GM_CHECK(hidden_size % num_heads == 0, kInvalidArgument, "model config: hidden_size ",
           hidden_size, " is no multiple of num_attention_heads ", num_heads);
  GM_CHECK(num_heads % num_kv_heads == 0, kInvalidArgument, "model config: num_attention_heads ",
           num_heads, " is no multiple of num_key_value_heads ", num_kv_heads);
  GM_CHECK(head_dim % 2 == 0, kInvalidArgument, "model config: head_dim ", head_dim,
           " is odd, rotary embedding needs pairs");
  GM_CHECK(rms_norm_eps > 0 && std::isfinite(rms_norm_eps), kInvalidArgument,
           "model config: rms_norm_eps is ", rms_norm_eps, ", expected a positive number");
  GM_CHECK(rope_theta > 0 && std::isfinite(rope_theta), kInvalidArgument,
           "model config: rope_theta is ", rope_theta, ", expected a positive number");
  GM_CHECK(lm_head_normalization_factor > 0 && std::isfinite(lm_head_normalization_factor),
           kInvalidArgument, "model config: lm_head_normalization_factor is ",
           lm_head_normalization_factor, ", expected a positive number");
  GM_CHECK(lm_head_normalization_factor == 1.0 || architecture == "HyperLlamaForCausalLM",
           kInvalidArgument, "model config: lm_head_normalization_factor ",
           lm_head_normalization_factor, " needs architecture HyperLlamaForCausalLM, not ",
           architecture);
  GM_CHECK(initializer_range >= 0 && initializer_range <= 1, kInvalidArgument,
           "model config: initializer_range is ", initializer_range, ", expected 0 to 1");
  if (rope_scaling) {
    GM_CHECK(rope_scaling->factor >= 1 && rope_scaling->low_freq_factor > 0 &&
                 rope_scaling->high_freq_factor > rope_scaling->low_freq_factor &&
                 rope_scaling->original_max_position_embeddings > 0,
             kInvalidArgument,
             "model config: rope_scaling needs factor >= 1, 0 < low_freq_factor <"
             " high_freq_factor and original_max_position_embeddings >= 1");
  }
  if (bos_token_id) {
    GM_CHECK(*bos_token_id >= 0 && *bos_token_id < vocab_size, kInvalidArgument,
             "model config: bos_token_id ", *bos_token_id, " is outside the vocabulary of ",
             vocab_size);
  }
  for (const std::int64_t id : eos_token_ids) {
    GM_CHECK(id >= 0 && id < vocab_size, kInvalidArgument, "model config: eos_token_id ", id,
             " is outside the vocabulary of ", vocab_size);
  }
}

ModelConfig parse_model_config(const std::string& json_text, const std::string& name) {
  Json json;
  try {
    json = Json::parse(json_text);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, name, ": not valid JSON: ", e.what());
  }
  GM_CHECK(json.is_object(), kCorrupt, name, ": is no JSON object");
  const Source source{json, name};
  ModelConfig config;
  config.architecture = architecture_of(source);
  refuse_unsupported_options(source);
  config.vocab_size = source.whole("vocab_size");
  config.hidden_size = source.whole("hidden_size");
  config.intermediate_size = source.whole("intermediate_size");
  config.num_layers = source.whole("num_hidden_layers");
  config.num_heads = source.whole("num_attention_heads");
  config.num_kv_heads = source.whole("num_key_value_heads", config.num_heads);
  config.head_dim =
      source.whole("head_dim", config.num_heads > 0 ? config.hidden_size / config.num_heads : 0);
  config.activation = activation_of(source);
  // What is absent has the value that Transformers' LlamaConfig gives it.
  config.max_position_embeddings = source.whole("max_position_embeddings", 2048);
  config.rms_norm_eps = source.number("rms_norm_eps", 1e-6);
  config.tie_word_embeddings = source.flag("tie_word_embeddings", false);
  config.initializer_range = source.number("initializer_range", 0.02);
  config.lm_head_normalization_factor = source.number("lm_head_normalization_factor", 1.0);
  read_rope(source, config);
  read_special_tokens(source, config);
  config.source_json = json_text;
  with_context(name, [&config] { config.validate(); });
  return config;
}

ModelConfig load_model_config(const std::filesystem::path& path) {
  const std::filesystem::path file =
      std::filesystem::is_directory(path) ? path / "config.json" : path;
  GM_CHECK(std::filesystem::exists(file), kNotFound, "no '", file.string(),
           "': expected a Hugging Face model directory with config.json");
  return parse_model_config(read_file(file), file.string());
}

std::string model_config_json(const ModelConfig& config, const std::string& torch_dtype) {
  Json json = config.source_json.empty() ? Json::object() : Json::parse(config.source_json);
  json["architectures"] = {config.architecture};
  json["model_type"] = config.architecture == "HyperLlamaForCausalLM" ? "hyperllama" : "llama";
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_layers;
  json["num_attention_heads"] = config.num_heads;
  json["num_key_value_heads"] = config.num_kv_heads;
  json["head_dim"] = config.head_dim;
  json["hidden_act"] = activation_name(config.activation);
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["initializer_range"] = config.initializer_range;
  json["attention_bias"] = false;
  json["mlp_bias"] = false;
  write_rope(config, json);
  if (config.architecture == "HyperLlamaForCausalLM") {
    json["lm_head_normalization_factor"] = config.lm_head_normalization_factor;
  } else {
    json.erase("lm_head_normalization_factor");
  }
  json["bos_token_id"] = config.bos_token_id ? Json(*config.bos_token_id) : Json(nullptr);
  if (config.eos_token_ids.empty()) {
    json["eos_token_id"] = nullptr;
  } else if (config.eos_token_ids.size() == 1) {
    json["eos_token_id"] = config.eos_token_ids[0];
  } else {
    json["eos_token_id"] = config.eos_token_ids;
  }
  // Transformers before and after 5 name it differently.
  json["torch_dtype"] = torch_dtype;
  json["dtype"] = torch_dtype;
  return json.dump(2) + "\n";
}

std::vector<std::pair<std::string, std::vector<std::int64_t>>> tensor_layout(
    const ModelConfig& config) {
  const std::int64_t d = config.hidden_size;
  const std::int64_t q = config.num_heads * config.head_dim;
  const std::int64_t kv = config.num_kv_heads * config.head_dim;
  const std::int64_t f = config.intermediate_size;
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> out;
  out.push_back({"model.embed_tokens.weight", {config.vocab_size, d}});
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    out.push_back({prefix + "input_layernorm.weight", {d}});
    out.push_back({prefix + "self_attn.q_proj.weight", {q, d}});
    out.push_back({prefix + "self_attn.k_proj.weight", {kv, d}});
    out.push_back({prefix + "self_attn.v_proj.weight", {kv, d}});
    out.push_back({prefix + "self_attn.o_proj.weight", {d, q}});
    out.push_back({prefix + "post_attention_layernorm.weight", {d}});
    out.push_back({prefix + "mlp.gate_proj.weight", {f, d}});
    out.push_back({prefix + "mlp.up_proj.weight", {f, d}});
    out.push_back({prefix + "mlp.down_proj.weight", {d, f}});
  }
  out.push_back({"model.norm.weight", {d}});
  if (!config.tie_word_embeddings) {
    out.push_back({"lm_head.weight", {config.vocab_size, d}});
  }
  return out;
}

std::int64_t num_parameters(const ModelConfig& config) {
  std::int64_t total = 0;
  for (const auto& [name, shape] : tensor_layout(config)) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) {
      count *= size;
    }
    total += count;
  }
  return total;
}

}  // namespace growmerge
