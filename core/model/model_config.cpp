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

constexpr const char* kFullAttention = "full_attention";
constexpr const char* kSlidingAttention = "sliding_attention";

struct RopeName {
  RopeType type;
  const char* name;
};
constexpr RopeName kRopeNames[] = {
    {RopeType::kDefault, "default"}, {RopeType::kLinear, "linear"},
    {RopeType::kDynamic, "dynamic"}, {RopeType::kYarn, "yarn"},
    {RopeType::kLlama3, "llama3"},   {RopeType::kLongrope, "longrope"},
};

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
  GM_CHECK(!family_of(c).needs_width_of_heads || c.hidden_size % c.num_heads == 0, kInvalidArgument,
           "model config: hidden_size ", c.hidden_size, " is no multiple of num_attention_heads ",
           c.num_heads);
  GM_CHECK(c.num_heads % c.num_kv_heads == 0, kInvalidArgument,
           "model config: num_attention_heads ", c.num_heads,
           " is no multiple of num_key_value_heads ", c.num_kv_heads);
  GM_CHECK(c.head_dim % 2 == 0, kInvalidArgument, "model config: head_dim ", c.head_dim,
           " is odd, rotary embedding needs pairs");
  GM_CHECK(c.partial_rotary_factor > 0 && c.partial_rotary_factor <= 1 && c.rotary_dim() >= 2 &&
               c.rotary_dim() % 2 == 0,
           kInvalidArgument, "model config: partial_rotary_factor ", c.partial_rotary_factor,
           " of head_dim ", c.head_dim, " leaves ", c.rotary_dim(),
           " elements to turn, expected an even number from 2 to head_dim");
}

void check_longrope(const RopeParameters& rope, std::int64_t num_frequencies) {
  for (const auto& [name, factors] :
       {std::pair{"short_factor", &rope.short_factor}, {"long_factor", &rope.long_factor}}) {
    GM_CHECK(static_cast<std::int64_t>(factors->size()) == num_frequencies, kInvalidArgument,
             "model config: rope_scaling's ", name, " has ", factors->size(),
             " numbers, expected one for each pair that turns (", num_frequencies, ")");
    GM_CHECK(std::all_of(factors->begin(), factors->end(), [](double f) { return f > 0; }),
             kInvalidArgument, "model config: rope_scaling's ", name, " must be positive");
  }
}

void check_rope(const ModelConfig& c, const RopeParameters& rope) {
  GM_CHECK(rope.theta > 0 && std::isfinite(rope.theta), kInvalidArgument,
           "model config: rope_theta is ", rope.theta, ", expected a positive number");
  if (rope.type == RopeType::kLlama3) {
    GM_CHECK(rope.factor >= 1 && rope.low_freq_factor > 0 &&
                 rope.high_freq_factor > rope.low_freq_factor &&
                 rope.original_max_position_embeddings > 0,
             kInvalidArgument,
             "model config: rope_scaling needs factor >= 1, 0 < low_freq_factor <"
             " high_freq_factor and original_max_position_embeddings >= 1");
  } else if (rope.type != RopeType::kDefault) {
    GM_CHECK(rope.factor > 0 && rope.original_max_position_embeddings > 1 && rope.theta > 1 &&
                 rope.beta_fast > 0 && rope.beta_slow > 0,
             kInvalidArgument,
             "model config: rope_scaling needs factor > 0, rope_theta > 1, beta_fast and beta_slow "
             "> 0 and original_max_position_embeddings > 1");
  }
  if (rope.type == RopeType::kLongrope) {
    check_longrope(rope, c.rotary_dim() / 2);
    GM_CHECK(!family_of(c).has_local_rope, kUnsupported,
             "model config: RoPE of type longrope is not supported where layers with a window have "
             "a RoPE of their own");
  }
}

/// Layers are counted in three lists, which must agree.
void check_layers(const ModelConfig& c) {
  const auto has_length = [&](const char* name, std::size_t length) {
    GM_CHECK(length == 0 || length == static_cast<std::size_t>(c.num_layers), kInvalidArgument,
             "model config: ", name, " has ", length, " entries, num_hidden_layers is ",
             c.num_layers, ": it needs one for each layer");
  };
  has_length("layer_types", c.layer_types.size());
  has_length("no_rope_layers", c.no_rope_layers.size());
  GM_CHECK(!c.sliding_window || *c.sliding_window > 0, kInvalidArgument,
           "model config: sliding_window is ", c.sliding_window.value_or(0),
           ", expected at least 1 (null for none)");
  for (const std::string& type : c.layer_types) {
    GM_CHECK(type == kFullAttention || type == kSlidingAttention, kUnsupported,
             "model config: layer_types holds '", type, "', only ", kFullAttention, " and ",
             kSlidingAttention, " are done");
    GM_CHECK(type == kFullAttention || c.sliding_window, kInvalidArgument,
             "model config: layer_types holds ", kSlidingAttention,
             ", but there is no sliding_window that says how far such a layer sees");
  }
}

void check_factors(const ModelConfig& c) {
  const auto positive = [](const char* name, double value) {
    GM_CHECK(value > 0 && std::isfinite(value), kInvalidArgument, "model config: ", name, " is ",
             value, ", expected a positive number");
  };
  positive("rms_norm_eps", c.rms_norm_eps);
  positive("lm_head_normalization_factor", c.lm_head_normalization_factor);
  positive("logits_scaling", c.logits_scaling);
  positive("embedding_multiplier", c.embedding_multiplier);
  positive("residual_multiplier", c.residual_multiplier);
  positive("the scale of attention", c.attention_scale());
  positive("attn_logit_softcapping", c.attn_logit_softcapping.value_or(1.0));
  positive("final_logit_softcapping", c.final_logit_softcapping.value_or(1.0));
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
  std::string name;
  for (const RopeName& known : kRopeNames) {
    name = known.type == type ? known.name : name;
  }
  v("rope_type", name, "", "default, linear, dynamic, yarn, llama3 or longrope");
  const auto* known = std::find_if(std::begin(kRopeNames), std::end(kRopeNames),
                                   [&](const RopeName& row) { return name == row.name; });
  GM_CHECK(known != std::end(kRopeNames), kUnsupported, "RoPE scaling of type '", name,
           "' is not supported, only default, linear, dynamic, yarn, llama3 and longrope are; "
           "setting it to null would change what the model computes");
  type = known->type;
  v("rope_theta", theta, "", "base of the rotary frequencies");
  if (type == RopeType::kDefault) {
    return;
  }
  v("factor", factor, "", "divides the frequencies, or the low ones");
  if (type == RopeType::kLlama3) {
    v("low_freq_factor", low_freq_factor, "",
      "original context / longest wavelength kept as it is");
    v("high_freq_factor", high_freq_factor, "",
      "original context / shortest wavelength that is divided in part");
  }
  if (type == RopeType::kYarn) {
    v("beta_fast", beta_fast, "rotations", "frequencies that turn more often stay as they are");
    v("beta_slow", beta_slow, "rotations", "those that turn less often are divided by the factor");
    v("mscale", mscale, "", "of the attention factor's numerator");
    v("mscale_all_dim", mscale_all_dim, "", "of its denominator");
    v("truncate", truncate, "", "the two bounds are rounded outwards");
  }
  if (type == RopeType::kLongrope) {
    v("short_factor", short_factor, "", "divides each frequency inside the original context");
    v("long_factor", long_factor, "", "the same in longer texts");
  }
  if (type == RopeType::kYarn || type == RopeType::kLongrope) {
    v("attention_factor", attention_factor, "", "multiplies cos and sin; absent: by the paper");
  }
  if (type == RopeType::kYarn || type == RopeType::kLlama3 || type == RopeType::kLongrope) {
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
  v(family_of(architecture).activation_key, activation_text, "",
    "of the MLP's gate: silu, gelu or gelu_pytorch_tanh");
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
  v("sliding_window", sliding_window, "tokens", "keys that a query sees; null: all before it");
  v("use_sliding_window", use_sliding_window, "", "whether there is a window at all");
  v("layer_types", layer_types, "", "full_attention or sliding_attention of each layer");
  v("no_rope_layers", no_rope_layers, "", "0 for each layer without RoPE, else 1");
  v("rope_parameters", rope, "", "rotary embedding; older files: rope_theta and rope_scaling");
  v("local_rope_parameters", local_rope, "",
    "that of layers with a window: `sliding_attention` in rope_parameters, or "
    "rope_local_base_freq");
  v("partial_rotary_factor", partial_rotary_factor, "", "share of a head that turns");
  v("query_pre_attn_scalar", query_pre_attn_scalar, "", "scores are divided by its root");
  v("attn_logit_softcapping", attn_logit_softcapping, "", "c: scores become c tanh(score / c)");
  v("final_logit_softcapping", final_logit_softcapping, "", "the same of logits");
  v("embedding_multiplier", embedding_multiplier, "", "of the embedding's rows");
  v("residual_multiplier", residual_multiplier, "", "of what a block adds to the stream");
  v("attention_multiplier", attention_multiplier, "", "of scores");
  v("logits_scaling", logits_scaling, "", "divides logits");
  v("lm_head_normalization_factor", lm_head_normalization_factor, "", "divides the head");
  v("bos_token_id", bos_token_id, "", "begins a text; absent: none");
  v("eos_token_id", eos_token_ids, "", "ends a text: one or several");
}

void ModelConfig::validate() const {
  check_sizes(*this);
  check_factors(*this);
  check_layers(*this);
  // Wider than 1, the first forward pass overflows.
  GM_CHECK(initializer_range >= 0 && initializer_range <= 1, kInvalidArgument,
           "model config: initializer_range is ", initializer_range, ", expected 0 to 1");
  check_rope(*this, rope);
  check_rope(*this, local_rope);
  check_own_keys(*this);
  check_special_tokens(*this);
}

std::int64_t ModelConfig::window_of(std::int64_t layer) const {
  const bool slides =
      layer_types.empty() || layer_types[static_cast<std::size_t>(layer)] == kSlidingAttention;
  return slides ? sliding_window.value_or(0) : 0;
}

bool ModelConfig::uses_rope(std::int64_t layer) const {
  return no_rope_layers.empty() || no_rope_layers[static_cast<std::size_t>(layer)] != 0;
}

bool ModelConfig::uses_local_rope(std::int64_t layer) const {
  return family_of(*this).has_local_rope && window_of(layer) > 0;
}

double ModelConfig::attention_scale() const {
  if (attention_multiplier != 0.0) {
    return attention_multiplier;
  }
  return 1.0 / std::sqrt(static_cast<double>(query_pre_attn_scalar.value_or(head_dim)));
}

double ModelConfig::embedding_scale() const {
  // Transformers keeps the root in float32.
  return family_of(*this).scales_embedding
             ? static_cast<double>(static_cast<float>(std::sqrt(static_cast<double>(hidden_size))))
             : embedding_multiplier;
}

double ModelConfig::head_divisor() const { return lm_head_normalization_factor * logits_scaling; }

std::int64_t ModelConfig::rotary_dim() const {
  return static_cast<std::int64_t>(static_cast<double>(head_dim) * partial_rotary_factor);
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
