#include "core/model/model_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "core/base/error.h"
#include "core/model/families.h"

namespace growmerge {
namespace {

// Numbers of config.json that may differ between models of one function and one set of tensors.
constexpr std::string_view kOutsideTheComputation[] = {
    "max_position_embeddings", "initializer_range", "bos_token_id", "eos_token_id"};

std::vector<DescribedField> values_of(ModelConfig config) {
  return list_fields([&](FieldVisitor& v) { config.describe(v); });
}

/// What a family has not must be as its defaults say: nothing here or in config.json could hold it.
void check_own_keys(const ModelConfig& config) {
  const Family& family = family_of(config.architecture);
  const std::vector<DescribedField> defaults = values_of(family.defaults);
  for (const auto& [key, value, use] : values_of(config)) {
    if (!is_own_key(key) || has_key(family, key)) {
      continue;
    }
    const auto it = std::find_if(defaults.begin(), defaults.end(),
                                 [&](const DescribedField& field) { return field.key == key; });
    std::string owners;
    for (const Family& other : families()) {
      if (has_key(other, key)) {
        owners += (owners.empty() ? "" : " or ") + std::string(other.architecture);
      }
    }
    GM_CHECK(it != defaults.end() && it->value == value, kInvalidArgument, "model config: ", key,
             " ", value, " needs architecture ", owners, ", not ", config.architecture);
  }
}

void check_sizes(const ModelConfig& c) {
  const auto positive = [](const char* name, std::int64_t value) {
    GM_CHECK(value > 0, kInvalidArgument, "model config: ", name, " is ", value,
             ", expected at least 1");
    // Keeps every product of two sizes inside 64 bits.
    GM_CHECK(value <= std::numeric_limits<std::int32_t>::max(), kInvalidArgument,
             "model config: ", name, " is ", value, ", larger than any model");
  };
  positive("vocab_size", c.vocab_size);
  positive("hidden_size", c.hidden_size);
  positive("intermediate_size", c.intermediate_size);
  positive("num_hidden_layers", c.num_layers);
  // Every layer's tensors are listed before the file is asked for them.
  GM_CHECK(c.num_layers <= 10'000, kInvalidArgument, "model config: num_hidden_layers is ",
           c.num_layers, ", larger than any model");
  positive("num_attention_heads", c.num_heads);
  positive("num_key_value_heads", c.num_kv_heads);
  positive("head_dim", c.head_dim);
  positive("max_position_embeddings", c.max_position_embeddings);
  // Transformers asks for it even where head_dim is given.
  GM_CHECK(c.hidden_size % c.num_heads == 0, kInvalidArgument, "model config: hidden_size ",
           c.hidden_size, " is no multiple of num_attention_heads ", c.num_heads);
  GM_CHECK(c.num_heads % c.num_kv_heads == 0, kInvalidArgument,
           "model config: num_attention_heads ", c.num_heads,
           " is no multiple of num_key_value_heads ", c.num_kv_heads);
  GM_CHECK(c.head_dim % 2 == 0, kInvalidArgument, "model config: head_dim ", c.head_dim,
           " is odd, rotary embedding needs pairs");
}

void check_rope(const RopeParameters& rope) {
  GM_CHECK(rope.theta > 0 && std::isfinite(rope.theta), kInvalidArgument,
           "model config: rope_theta is ", rope.theta, ", expected a positive number");
  if (rope.type == RopeType::kLlama3) {
    GM_CHECK(rope.factor >= 1 && rope.low_freq_factor > 0 &&
                 rope.high_freq_factor > rope.low_freq_factor &&
                 rope.original_max_position_embeddings > 0,
             kInvalidArgument,
             "model config: rope_scaling needs factor >= 1, 0 < low_freq_factor <"
             " high_freq_factor and original_max_position_embeddings >= 1");
  }
}

void check_special_tokens(const ModelConfig& c) {
  if (c.bos_token_id) {
    GM_CHECK(*c.bos_token_id >= 0 && *c.bos_token_id < c.vocab_size, kInvalidArgument,
             "model config: bos_token_id ", *c.bos_token_id, " is outside the vocabulary of ",
             c.vocab_size);
  }
  for (const std::int64_t id : c.eos_token_ids) {
    GM_CHECK(id >= 0 && id < c.vocab_size, kInvalidArgument, "model config: eos_token_id ", id,
             " is outside the vocabulary of ", c.vocab_size);
  }
}

}  // namespace

const char* activation_name(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_pytorch_tanh";
  }
  GM_ASSERT(false);
}

std::optional<Activation> find_activation(const std::string& name) {
  if (name == "silu" || name == "swish") {
    return Activation::kSilu;
  }
  if (name == "gelu") {
    return Activation::kGelu;
  }
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_tanh") {
    return Activation::kGeluTanh;
  }
  return std::nullopt;
}

void RopeParameters::describe(FieldVisitor& v) {
  std::string name = type == RopeType::kLlama3 ? "llama3" : "default";
  v("rope_type", name, "", "default or llama3 (low frequencies divided by `factor`)");
  GM_CHECK(name == "default" || name == "llama3", kUnsupported, "RoPE scaling of type '", name,
           "' is not supported, only default and llama3 are: for another type, use the model "
           "inside its original context without scaling (rope_scaling: null)");
  type = name == "llama3" ? RopeType::kLlama3 : RopeType::kDefault;
  v("rope_theta", theta, "", "base of the rotary frequencies");
  if (type == RopeType::kLlama3) {
    v("factor", factor, "", "divides the low frequencies");
    v("low_freq_factor", low_freq_factor, "",
      "original context / longest wavelength kept as it is");
    v("high_freq_factor", high_freq_factor, "",
      "original context / shortest wavelength that is divided in part");
    v("original_max_position_embeddings", original_max_position_embeddings, "tokens",
      "context that the model was first trained with");
  }
}

void ModelConfig::describe(FieldVisitor& v) {
  v("architectures", architecture, "", "the family: see the table of families");
  v("vocab_size", vocab_size, "tokens", "V, rows of the embedding");
  v("hidden_size", hidden_size, "", "d, width of the residual stream");
  v("intermediate_size", intermediate_size, "", "F, width of the MLP");
  v("num_hidden_layers", num_layers, "", "L");
  v("num_attention_heads", num_heads, "", "H, query heads");
  // 0 means "as config.json implies": filled in here, so that every reader sees the same number.
  if (num_kv_heads == 0) {
    num_kv_heads = num_heads;
  }
  v("num_key_value_heads", num_kv_heads, "", "K, key and value heads; absent: H");
  if (head_dim == 0) {
    head_dim = std::max<std::int64_t>(1, num_heads > 0 ? hidden_size / num_heads : 0);
  }
  v("head_dim", head_dim, "", "h, width of a head; absent: d / H");
  std::string activation_text = activation_name(activation);
  v("hidden_act", activation_text, "", "of the MLP's gate: silu, gelu or gelu_pytorch_tanh");
  const std::optional<Activation> known = find_activation(activation_text);
  GM_CHECK(known.has_value(), kUnsupported, "hidden_act '", activation_text,
           "' is not supported, only silu, gelu and gelu_pytorch_tanh are");
  activation = *known;
  v("max_position_embeddings", max_position_embeddings, "tokens", "context length");
  v("rms_norm_eps", rms_norm_eps, "", "added to the mean square in RMSNorm");
  v("tie_word_embeddings", tie_word_embeddings, "", "one matrix for embedding and head");
  v("initializer_range", initializer_range, "", "standard deviation of random matrices");
  v("attention_bias", attention_bias, "", "q, k, v and o have biases");
  v("mlp_bias", mlp_bias, "", "gate, up and down have biases");
  v("rope_parameters", rope, "", "rotary embedding; older files: rope_theta and rope_scaling");
  v("lm_head_normalization_factor", lm_head_normalization_factor, "", "divides the head");
  v("bos_token_id", bos_token_id, "", "begins a text; absent: none");
  v("eos_token_id", eos_token_ids, "", "ends a text: one or several");
}

void ModelConfig::validate() const {
  check_sizes(*this);
  GM_CHECK(rms_norm_eps > 0 && std::isfinite(rms_norm_eps), kInvalidArgument,
           "model config: rms_norm_eps is ", rms_norm_eps, ", expected a positive number");
  GM_CHECK(lm_head_normalization_factor > 0 && std::isfinite(lm_head_normalization_factor),
           kInvalidArgument, "model config: lm_head_normalization_factor is ",
           lm_head_normalization_factor, ", expected a positive number");
  // Wider than 1, the first forward pass overflows.
  GM_CHECK(initializer_range >= 0 && initializer_range <= 1, kInvalidArgument,
           "model config: initializer_range is ", initializer_range, ", expected 0 to 1");
  check_rope(rope);
  check_own_keys(*this);
  check_special_tokens(*this);
}

std::optional<ConfigDifference> first_difference(const ModelConfig& first,
                                                 const ModelConfig& second) {
  const std::vector<DescribedField> a = values_of(first);
  const std::vector<DescribedField> b = values_of(second);
  // Lists differ in length where one model has fields that the other's kind of RoPE lacks; the kind
  // itself comes before them.
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const std::string& key = a[i].key;
    const bool decides =
        std::find(std::begin(kOutsideTheComputation), std::end(kOutsideTheComputation), key) ==
        std::end(kOutsideTheComputation);
    if (decides && a[i] != b[i]) {
      return ConfigDifference{key, a[i].value, b[i].value};
    }
  }
  return std::nullopt;
}

}  // namespace growmerge
