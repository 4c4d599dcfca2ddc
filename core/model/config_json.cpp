// config.json of Hugging Face, in and out: ModelConfig::describe() through two visitors.
//
// What is spelled in more than one way is brought into one first: the family (architectures,
// model_type) and RoPE (rope_theta and rope_scaling, or the newer rope_parameters that holds both);
// two spellings that disagree are refused.
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/model/families.h"
#include "core/model/model_config.h"
#include "core/model/model_config_keys.h"

namespace growmerge {
namespace {

using Json = nlohmann::ordered_json;

/// null says as little as an absent key: Transformers writes it where it has no value.
const Json* find(const Json& json, const std::string& key) {
  const auto it = json.find(key);
  return it == json.end() || it->is_null() ? nullptr : &*it;
}

std::string dumped(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

[[noreturn]] void wrong(const std::string& key, const char* expected, const Json& got) {
  fail(ErrorCode::kCorrupt, "'", key, "' must be ", expected, ", got ", dumped(got));
}

std::int64_t whole(const std::string& key, const Json& value,
                   const char* expected = "a whole number") {
  // 2^62 and beyond would overflow where two of them are added.
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<std::uint64_t>() > (std::uint64_t{1} << 62))) {
    wrong(key, expected, value);
  }
  return value.get<std::int64_t>();
}

double number(const std::string& key, const Json& value) {
  if (!value.is_number()) {
    wrong(key, "a number", value);
  }
  return value.get<double>();
}

bool flag(const std::string& key, const Json& value) {
  if (!value.is_boolean()) {
    wrong(key, "true or false", value);
  }
  return value.get<bool>();
}

std::string text(const std::string& key, const Json& value) {
  if (!value.is_string()) {
    wrong(key, "a string", value);
  }
  return value.get<std::string>();
}

/// Two keys that say the same thing: one value, or a refusal that shows both. Nothing tells which
/// of them the model was trained with.
void set_agreed(Json& out, const std::string& key, const Json& value, const std::string& where) {
  const Json* before = find(out, key);
  const bool agrees =
      before == nullptr || *before == value ||
      (before->is_number() && value.is_number() && before->get<double>() == value.get<double>());
  GM_CHECK(agrees, kCorrupt, "'", key, "' is ", dumped(*before), " in one place and ",
           dumped(value), " in ", where,
           ": which of them the model was trained with must be found out, and the other removed");
  out[key] = value;
}

constexpr const char* kGlobalLayers = "full_attention";
constexpr const char* kLocalLayers = "sliding_attention";

/// What rope_parameters says of these layers: by type of layer where the family tells them apart.
const Json* rope_parameters_of(const Json& json, const Family& family, const char* layers) {
  const Json* node = find(json, "rope_parameters");
  if (node == nullptr || !node->is_object()) {
    return node;
  }
  const bool is_by_layer = node->contains(kGlobalLayers) || node->contains(kLocalLayers);
  GM_CHECK(node->empty() || is_by_layer == family.has_local_rope, kUnsupported,
           "'rope_parameters' of a ", family.architecture,
           family.has_local_rope ? " must hold full_attention and sliding_attention"
                                 : " must hold rope_type and rope_theta, not types of layers");
  return is_by_layer ? find(*node, layers) : node;
}

/// Fills in what a type of RoPE takes from the rest of config.json where it says nothing itself.
void complete_rope(const Json& json, const Family& family, Json& rope) {
  const auto number_of = [&](const char* key, std::int64_t otherwise) {
    const Json* value = find(json, key);
    return value == nullptr ? otherwise : whole(key, *value);
  };
  const Json type = rope.value("rope_type", Json("default"));
  if (type != "yarn" && type != "longrope" && type != "llama3") {
    return;
  }
  const std::int64_t context =
      number_of("max_position_embeddings", family.defaults.max_position_embeddings);
  if (const Json* original = find(json, "original_max_position_embeddings")) {
    set_agreed(rope, "original_max_position_embeddings", *original, "config.json itself");
  } else if (find(rope, "original_max_position_embeddings") == nullptr) {
    rope["original_max_position_embeddings"] = context;
  }
  const std::int64_t original =
      whole("original_max_position_embeddings", rope["original_max_position_embeddings"]);
  if (type != "llama3" && find(rope, "factor") == nullptr && original > 0) {
    rope["factor"] = static_cast<double>(context) / static_cast<double>(original);
  }
}

/// All spellings of RoPE as one: {rope_type, rope_theta, ...}. Of the layers with a window where
/// they have their own.
Json rope_parameters(const Json& json, const Family& family, bool local) {
  Json out = Json::object();
  if (const Json* theta = find(json, local ? "rope_local_base_freq" : "rope_theta")) {
    out["rope_theta"] = *theta;
  }
  const auto take = [&](const char* key, const Json* node) {
    if (node == nullptr) {
      return;
    }
    if (!node->is_object()) {
      wrong(key, "a map", *node);
    }
    if (const Json* theta = find(*node, "rope_theta")) {
      set_agreed(out, "rope_theta", *theta, key);
    }
    const Json* type = find(*node, "rope_type");
    if (type == nullptr) {
      type = find(*node, "type");
    }
    // A default beside another kind says nothing: Transformers 5 writes both spellings.
    if (type == nullptr || *type == "default") {
      return;
    }
    // Names that went before.
    const bool is_longrope = *type == "su" || (*type == "yarn" && node->contains("short_factor"));
    set_agreed(out, "rope_type", is_longrope ? Json("longrope") : *type, key);
    for (const auto& [name, value] : node->items()) {
      if (name != "rope_type" && name != "type" && !value.is_null()) {
        set_agreed(out, name, value, key);
      }
    }
  };
  if (!local) {
    take("rope_scaling", find(json, "rope_scaling"));
  }
  take("rope_parameters", rope_parameters_of(json, family, local ? kLocalLayers : kGlobalLayers));
  complete_rope(json, family, out);
  return out;
}

/// partial_rotary_factor stands in config.json or among RoPE's numbers.
void lift_partial_rope(const Family& family, Json& json) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* node = find(json, key);
    const Json* factor =
        node != nullptr && node->is_object() ? find(*node, "partial_rotary_factor") : nullptr;
    if (factor != nullptr) {
      set_agreed(json, "partial_rotary_factor", Json(*factor), key);
    }
  }
  const Json* factor = find(json, "partial_rotary_factor");
  GM_CHECK(factor == nullptr || family.has_partial_rope ||
               number("partial_rotary_factor", *factor) == 1.0,
           kUnsupported, "'partial_rotary_factor' other than 1 is not supported in a ",
           family.architecture, ": Transformers has no such model");
}

/// Sets what config.json names. A whole number that is 0 before has no default: it must be there;
/// so must everything that the kind of a RoPE asks for.
class JsonReader final : public FieldVisitor {
 public:
  JsonReader(const Json& json, const Family& family, bool is_rope = false)
      : json_(json), family_(family), is_rope_(is_rope) {}

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    if (info.key == "architectures") {
      return;  // decided before, by architecture_of()
    }
    const Json* value = find(json_, info.key);
    std::visit([&](auto* target) { read(info.key, value, *target); }, member);
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    const bool local = info.key == "local_rope_parameters";
    if (local && !family_.has_local_rope) {
      return;
    }
    const Json rope = rope_parameters(json_, family_, local);
    with_context("rope_parameters", [&] {
      JsonReader inner(rope, family_, true);
      describe(inner);
    });
  }
  void list(const FieldInfo&, const ListRef&) override { GM_ASSERT(false); }

 private:
  [[nodiscard]] bool must_be_there(const std::string& key, bool has_default) const {
    return is_rope_ ? !has_default && key != "rope_type" && key != "rope_theta" &&
                          !key.starts_with("beta_")
                    : !has_default;
  }

  template <class T>
  void read(const std::string& key, const Json* value, T& target) const {
    if (value == nullptr) {
      bool has_default = true;
      if constexpr (requires { target.reset(); }) {
        if (json_.contains(key)) {  // null says that there is none, where silence means the default
          target.reset();
        }
      } else if constexpr (std::is_same_v<T, std::int64_t>) {
        has_default = target != 0 && !is_rope_;
      } else if constexpr (std::is_same_v<T, double> || std::is_same_v<T, std::vector<double>>) {
        has_default = !is_rope_;
      }
      GM_CHECK(!must_be_there(key, has_default), kCorrupt, "key '", key, "' is missing");
      return;
    }
    if constexpr (std::is_same_v<T, bool>) {
      target = flag(key, *value);
    } else if constexpr (std::is_same_v<T, double>) {
      target = number(key, *value);
    } else if constexpr (std::is_same_v<T, std::string>) {
      target = text(key, *value);
    } else if constexpr (std::is_same_v<T, std::optional<double>>) {
      target = number(key, *value);
    } else if constexpr (std::is_same_v<T, std::vector<double>> ||
                         std::is_same_v<T, std::vector<std::string>>) {
      if (!value->is_array()) {
        wrong(key, "a list", *value);
      }
      target.clear();
      for (const Json& item : *value) {
        if constexpr (std::is_same_v<T, std::vector<double>>) {
          target.push_back(number(key, item));
        } else {
          target.push_back(text(key, item));
        }
      }
    } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
      target.clear();
      for (const Json& item : value->is_array() ? *value : Json::array({*value})) {
        target.push_back(whole(key, item, "a whole number or a list of them"));
      }
    } else if constexpr (std::is_same_v<T, std::int64_t> ||
                         std::is_same_v<T, std::optional<std::int64_t>>) {
      target = whole(key, *value);
    } else {
      GM_ASSERT(false);  // no field of a model is of this kind
    }
  }

  const Json& json_;
  const Family& family_;
  bool is_rope_;
};

/// Writes every field that the family has over `json`.
class JsonWriter final : public FieldVisitor {
 public:
  JsonWriter(Json& json, const Family& family) : json_(json), family_(family) {}

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    if (info.key == "architectures") {
      json_["architectures"] = {family_.architecture};
      json_["model_type"] = family_.model_type;
    } else if (is_own_key(info.key) && !has_key(family_, info.key)) {
      // What the source said of it, another family's reader could take for true.
      json_.erase(info.key);
    } else {
      std::visit([&](auto* value) { write(json_[info.key], *value); }, member);
      if (info.key == "eos_token_id" && json_[info.key].size() < 2) {
        json_[info.key] = json_[info.key].empty() ? Json(nullptr) : Json(json_[info.key][0]);
      }
    }
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    const bool local = info.key == "local_rope_parameters";
    if (local && !family_.has_local_rope) {
      return;
    }
    Json parameters = Json::object();
    JsonWriter inner(parameters, family_);
    describe(inner);
    for (auto it = parameters.begin(); it != parameters.end();) {
      it = it->is_null() ? parameters.erase(it) : std::next(it);
    }
    if (local) {
      json_["rope_local_base_freq"] = parameters["rope_theta"];
      json_["rope_parameters"][kLocalLayers] = parameters;
      return;
    }
    write_old_rope(parameters);
    if (family_.has_local_rope) {
      json_["rope_parameters"] = Json::object();
      json_["rope_parameters"][kGlobalLayers] = parameters;
    } else {
      json_["rope_parameters"] = parameters;
    }
  }
  void list(const FieldInfo&, const ListRef&) override { GM_ASSERT(false); }

 private:
  /// Transformers before 5 reads rope_theta and rope_scaling: what is beyond the default, and its
  /// kind.
  void write_old_rope(const Json& parameters) {
    json_["rope_theta"] = parameters["rope_theta"];
    Json scaling = parameters;
    for (const char* key : {"rope_type", "rope_theta"}) {  // behind the numbers
      scaling.erase(key);
      scaling[key] = parameters[key];
    }
    json_["rope_scaling"] = parameters["rope_type"] == "default" ? Json(nullptr) : scaling;
    // Phi 3 keeps this one outside, and there it counts.
    if (const Json* original = find(parameters, "original_max_position_embeddings");
        original != nullptr &&
        (json_.contains("original_max_position_embeddings") || family_.has_partial_rope)) {
      json_["original_max_position_embeddings"] = *original;
    }
  }

  template <class T>
  static void write(Json& place, const T& value) {
    if constexpr (requires { value.has_value(); }) {
      place = value ? Json(*value) : Json(nullptr);
    } else {
      place = value;
    }
  }

  Json& json_;
  const Family& family_;
};

const Family& family_of_json(const Json& json) {
  const Json* list = find(json, "architectures");
  if (list == nullptr) {
    const Json* type = find(json, "model_type");
    const std::string name = type == nullptr ? "" : text("model_type", *type);
    GM_CHECK(!name.empty(), kCorrupt,
             "neither 'architectures' nor 'model_type' says what this model is");
    // Files of base classes carry the type alone; an unknown one is refused by its own name.
    const Family* family = find_family_of_type(name);
    return family != nullptr ? *family : family_of(name);
  }
  if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    wrong("architectures", "a list of one name", *list);
  }
  return family_of((*list)[0].get<std::string>());
}

/// Windows and kinds of layers that the family has not.
void refuse_unsupported_layers(const Json& json, const Family& family) {
  // A number that is not used is harmless; published models carry one.
  if (find(json, "sliding_window") != nullptr && !has_key(family, "sliding_window")) {
    const Json* used = find(json, "use_sliding_window");
    GM_CHECK(used != nullptr && !flag("use_sliding_window", *used), kUnsupported,
             "'sliding_window' is not supported in a ", family.architecture,
             " (attention there sees all earlier tokens): set it to null if the model was trained "
             "without it, or name the architecture that it was trained with");
  }
  const Json* types = find(json, "layer_types");
  if (types == nullptr || has_key(family, "layer_types")) {
    return;
  }
  if (!types->is_array()) {
    wrong("layer_types", "a list", *types);
  }
  const bool all_slide =
      family.window_layers == WindowLayers::kAll && find(json, "sliding_window") != nullptr;
  for (const Json& type : *types) {
    GM_CHECK(type == (all_slide ? kLocalLayers : kGlobalLayers), kUnsupported,
             "'layer_types' holds ", dumped(type), ", all layers of this ", family.architecture,
             " are ", all_slide ? kLocalLayers : kGlobalLayers);
  }
  const Json* layers = find(json, "num_hidden_layers");
  GM_CHECK(layers == nullptr || *layers == types->size(), kInvalidArgument, "'layer_types' has ",
           types->size(), " entries, num_hidden_layers is ",
           layers == nullptr ? "" : dumped(*layers), ": it needs one for each layer");
}

/// Options that change what the model computes and that are not done here.
void refuse_unsupported_options(const Json& json, const Family& family) {
  for (const RefusedOption& option : refused_options()) {
    const Json* value = find(json, option.key);
    const bool asks = option.when == RefusedOption::When::kPresent
                          ? value != nullptr
                          : value != nullptr && flag(option.key, *value);
    GM_CHECK(!asks, kUnsupported, "'", option.key,
             option.when == RefusedOption::When::kTrue ? ": true' " : "' ", option.advice);
  }
  refuse_unsupported_layers(json, family);
}

std::int64_t number_or(const Json& json, const char* key, std::int64_t otherwise) {
  const Json* value = find(json, key);
  return value == nullptr ? otherwise : whole(key, *value);
}

bool slides(const ModelConfig& config, const Json& json, const Family& family, std::int64_t layer) {
  const auto is_nth = [&](const char* key, std::int64_t otherwise) {
    const std::int64_t n = number_or(json, key, otherwise);
    return n > 0 && (layer + 1) % n == 0;
  };
  switch (family.window_layers) {
    case WindowLayers::kNone:
      return false;
    case WindowLayers::kAll:
      return true;
    case WindowLayers::kButEveryNth:
      return !is_nth("sliding_window_pattern", family.full_attention_interval);
    case WindowLayers::kFromAnIndex:
      return layer >= number_or(json, "max_window_layers", 28);
    case WindowLayers::kThoseWithoutRope:
      return !config.uses_rope(layer);
  }
  GM_ASSERT(false);
}

/// Lists by layer where config.json has none, and one form for a window that is not used.
void complete_layers(const Json& json, const Family& family, ModelConfig& config) {
  if (has_key(family, "no_rope_layers") && config.no_rope_layers.empty()) {
    const std::int64_t n = number_or(json, "no_rope_layer_interval", 4);
    for (std::int64_t layer = 1; layer <= config.num_layers; ++layer) {
      config.no_rope_layers.push_back(n > 0 && layer % n == 0 ? 0 : 1);
    }
  }
  if (has_key(family, "use_sliding_window")) {
    config.sliding_window = config.use_sliding_window ? config.sliding_window : std::nullopt;
    config.use_sliding_window = config.sliding_window.has_value();
  }
  if (has_key(family, "layer_types") && config.layer_types.empty()) {
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
      const bool has_window = config.sliding_window && slides(config, json, family, layer);
      config.layer_types.emplace_back(has_window ? kLocalLayers : kGlobalLayers);
    }
  }
}

ModelConfig read_config(Json json) {
  const Family& family = family_of_json(json);
  refuse_unsupported_options(json, family);
  lift_partial_rope(family, json);
  ModelConfig config = family.defaults;
  // Where both kinds of layers have one theta by default, config.json means both of them, too.
  const Json* theta = find(json, "rope_theta");
  if (theta != nullptr && family.has_local_rope && config.local_rope.theta == config.rope.theta) {
    config.local_rope.theta = number("rope_theta", *theta);
  }
  JsonReader reader(json, family);
  config.describe(reader);
  // Long lists are made only for a number of layers that can be.
  GM_CHECK(config.num_layers <= 10'000, kInvalidArgument, "model config: num_hidden_layers is ",
           config.num_layers, ", larger than any model");
  complete_layers(json, family, config);
  config.validate();
  return config;
}

}  // namespace

ModelConfig parse_model_config(const std::string& json_text, const std::string& name) {
  Json json;
  try {
    check_json_depth(json_text, name);
    json = Json::parse(json_text);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, name, ": not valid JSON: ", e.what());
  }
  GM_CHECK(json.is_object(), kCorrupt, name, ": is no JSON object");
  // The text is kept as it came: keys that nobody here knows go on with the model.
  ModelConfig config = with_context(name, [&] { return read_config(std::move(json)); });
  config.source_json = json_text;
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
  ModelConfig described = config;
  JsonWriter writer(json, family_of(config.architecture));
  described.describe(writer);
  // Transformers before and after 5 name it differently.
  json["torch_dtype"] = torch_dtype;
  json["dtype"] = torch_dtype;
  return json.dump(2) + "\n";
}

}  // namespace growmerge
