// config.json of Hugging Face, in and out: ModelConfig::describe() through two visitors.
//
// What is spelled in more than one way is brought into one first: the family (architectures,
// model_type) and RoPE (rope_theta and rope_scaling, or the newer rope_parameters that holds both).
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/files.h"
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

[[noreturn]] void wrong(const std::string& key, const char* expected, const Json& got) {
  fail(ErrorCode::kCorrupt, "'", key, "' must be ", expected, ", got ",
       got.dump(-1, ' ', false, Json::error_handler_t::replace));
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

void check_not_partial(const Json& json) {
  if (const Json* factor = find(json, "partial_rotary_factor")) {
    GM_CHECK(number("partial_rotary_factor", *factor) == 1.0, kUnsupported,
             "'partial_rotary_factor' other than 1 is not supported");
  }
}

/// Both spellings of RoPE as one: {rope_type, rope_theta, ...}.
Json rope_parameters(const Json& json) {
  Json out = Json::object();
  if (const Json* theta = find(json, "rope_theta")) {
    out["rope_theta"] = *theta;
  }
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* node = find(json, key);
    if (node == nullptr) {
      continue;
    }
    if (!node->is_object()) {
      wrong(key, "a map", *node);
    }
    check_not_partial(*node);
    if (const Json* theta = find(*node, "rope_theta")) {
      out["rope_theta"] = *theta;
    }
    const Json* type = find(*node, "rope_type");
    if (type == nullptr) {
      type = find(*node, "type");
    }
    // A default beside another kind says nothing: Transformers 5 writes both spellings.
    if (type != nullptr && *type != "default") {
      out.update(*node);
      out["rope_type"] = *type;
    }
  }
  return out;
}

/// Sets what config.json names. A whole number that is 0 before has no default: it must be there;
/// so must everything that the kind of a RoPE asks for.
class JsonReader final : public FieldVisitor {
 public:
  explicit JsonReader(const Json& json, bool is_rope = false) : json_(json), is_rope_(is_rope) {}

 protected:
  void scalar(const FieldInfo& info, ScalarRef member) override {
    if (info.key == "architectures") {
      return;  // decided before, by architecture_of()
    }
    const Json* value = find(json_, info.key);
    std::visit([&](auto* target) { read(info.key, value, *target); }, member);
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    GM_ASSERT(info.key == "rope_parameters");
    const Json rope = rope_parameters(json_);
    with_context(info.key, [&] {
      JsonReader inner(rope, true);
      describe(inner);
    });
  }
  void list(const FieldInfo&, const ListRef&) override { GM_ASSERT(false); }

 private:
  [[nodiscard]] bool must_be_there(const std::string& key, bool has_default) const {
    return is_rope_ ? key != "rope_type" && key != "rope_theta" : !has_default;
  }

  template <class T>
  void read(const std::string& key, const Json* value, T& target) const {
    if (value == nullptr) {
      bool has_default = true;
      if constexpr (std::is_same_v<T, std::int64_t>) {
        has_default = target != 0;
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
    }
  }
  void object(const FieldInfo& info, const std::function<void(FieldVisitor&)>& describe) override {
    Json parameters = Json::object();
    JsonWriter inner(parameters, family_);
    describe(inner);
    json_["rope_theta"] = parameters["rope_theta"];
    // Transformers before 5 reads rope_scaling: what is beyond the default, and its kind.
    Json scaling = parameters;
    for (const char* key : {"rope_type", "rope_theta"}) {  // behind the numbers
      scaling.erase(key);
      scaling[key] = parameters[key];
    }
    json_["rope_scaling"] = parameters["rope_type"] == "default" ? Json(nullptr) : scaling;
    json_[info.key] = parameters;
  }
  void list(const FieldInfo&, const ListRef&) override { GM_ASSERT(false); }

 private:
  template <class T>
  static void write(Json& place, const T& value) {
    if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
      place = value.empty() ? Json(nullptr) : value.size() == 1 ? Json(value[0]) : Json(value);
    } else if constexpr (requires { value.has_value(); }) {
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
  // A number that is not used is harmless; published Qwen2s carry one.
  if (find(json, "sliding_window") != nullptr) {
    const Json* used = find(json, "use_sliding_window");
    const bool is_used =
        used == nullptr ? family.uses_sliding_window : flag("use_sliding_window", *used);
    GM_CHECK(!is_used, kUnsupported,
             "'sliding_window' is not supported (attention here sees all earlier tokens): set it "
             "to null only if the model was trained without it");
  }
  if (const Json* types = find(json, "layer_types")) {
    for (const Json& type : *types) {
      GM_CHECK(type == "full_attention", kUnsupported, "'layer_types' holds ", type.dump(),
               ", only full_attention is done");
    }
  }
  check_not_partial(json);
}

ModelConfig read_config(const Json& json) {
  const Family& family = family_of_json(json);
  refuse_unsupported_options(json, family);
  ModelConfig config = family.defaults;
  JsonReader reader(json);
  config.describe(reader);
  config.validate();
  return config;
}

}  // namespace

ModelConfig parse_model_config(const std::string& json_text, const std::string& name) {
  Json json;
  try {
    json = Json::parse(json_text);
  } catch (const Json::exception& e) {
    fail(ErrorCode::kCorrupt, name, ": not valid JSON: ", e.what());
  }
  GM_CHECK(json.is_object(), kCorrupt, name, ": is no JSON object");
  // The text is kept as it came: keys that nobody here knows go on with the model.
  ModelConfig config = with_context(name, [&] { return read_config(json); });
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
