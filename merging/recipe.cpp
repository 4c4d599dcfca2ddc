#include "merging/recipe.h"

#include <algorithm>
#include <cctype>

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/store/safetensors.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

struct Refusal {
  const char* key;
  const char* instead;
};
constexpr Refusal kUnsupportedKeys[] = {
    {"slices", "merge whole models with 'models'"},
    {"modules", "merge whole models with 'models'"},
    {"tokenizer_source", "all models must share one tokenizer, which is carried along"},
    {"tokenizer", "all models must share one tokenizer, which is carried along"},
    {"chat_template", "the base's (or first model's) own template is carried along"}};

[[noreturn]] void unknown_key(const YamlNode& value, const std::string& key,
                              const std::vector<std::string>& known) {
  for (const Refusal& refusal : kUnsupportedKeys) {
    if (key == refusal.key) {
      fail(ErrorCode::kUnsupported, value.where(), ": '", key,
           "' is not supported: ", refusal.instead);
    }
  }
  const std::string nearest = nearest_name(key, known);
  std::string list;
  for (const std::string& name : known) {
    list += (list.empty() ? "" : ", ") + name;
  }
  fail(ErrorCode::kInvalidArgument, value.where(), ": unknown key '", key, "'",
       nearest.empty() ? "" : ", did you mean '" + nearest + "'?", " (there are: ", list, ")");
}

void check_keys(const YamlNode& map, const std::vector<std::string>& known) {
  GM_CHECK(map.is_map(), kInvalidArgument, map.where(), ": expected a map of ", known.front(),
           ", ...");
  for (const auto& [key, value] : map.entries) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      unknown_key(value, key, known);
    }
  }
}

std::vector<std::string> model_keys(const Method& method) {
  std::vector<std::string> out = {"weight"};
  if (method.has_density) {
    out.emplace_back("density");
  }
  return out;
}

std::vector<std::string> global_keys(const Method& method) {
  std::vector<std::string> out = model_keys(method);
  if (method.has_normalize) {
    out.emplace_back("normalize");
  }
  if (method.has_lambda) {
    out.emplace_back("lambda");
  }
  if (method.is_random) {
    out.emplace_back("rescale");
  }
  return out;
}

/// mergekit's options of the same methods that exist for other methods or for its own engine. They
/// are taken where they ask for what is done anyway.
bool is_idle_option(const Method& method, const std::string& key, const YamlNode& value) {
  if (key == "int8_mask") {  // how mergekit stores a mask; no effect on the result
    (void)value.as_bool();
    return true;
  }
  return key == "rescale" && !method.is_random && !value.as_bool();
}

std::map<std::string, ParameterValue> parse_parameters(const YamlNode* node,
                                                       const std::vector<std::string>& known,
                                                       const Method& method) {
  std::map<std::string, ParameterValue> out;
  if (node == nullptr || node->is_null()) {
    return out;
  }
  GM_CHECK(node->is_map(), kInvalidArgument, node->where(), ": 'parameters' must be a map");
  for (const auto& [key, value] : node->entries) {
    if (method.base == BaseUse::kRequired && value.is_scalar() &&
        is_idle_option(method, key, value)) {
      continue;
    }
    if (key == "density" && !method.has_density) {
      fail(ErrorCode::kInvalidArgument, value.where(), ": method ", method.name,
           " has no density: remove it, or use ties or dare_ties");
    }
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      unknown_key(value, key, known);
    }
    const bool is_flag = key == "normalize" || key == "rescale";
    const auto type = is_flag ? ParameterValue::Type::kFlag : ParameterValue::Type::kNumber;
    const ParameterValue parsed = ParameterValue::parse(value, type, key);
    for (const double number : parsed.values()) {
      GM_CHECK(key != "density" || (number >= 0.0 && number <= 1.0), kInvalidArgument,
               parsed.where(), ": density ", number, " is outside [0, 1]");
      GM_CHECK(key != "weight" || !method.needs_statistics || number >= 0.0, kInvalidArgument,
               parsed.where(), ": weight ", number, " is negative, method ", method.name,
               " needs weights >= 0");
    }
    out.emplace(key, parsed);
  }
  return out;
}

fs::path resolve(const YamlNode& node) {
  GM_CHECK(node.is_scalar() && !node.scalar.empty(), kInvalidArgument, node.where(),
           ": expected the path of a model directory");
  const fs::path given = node.scalar;
  if (given.is_absolute() || fs::exists(given) || node.file.empty()) {
    return given;
  }
  const fs::path beside = fs::path(node.file).parent_path() / given;
  if (fs::exists(beside)) {
    return beside;
  }
  GM_CHECK(node.scalar.find('+') == std::string::npos, kUnsupported, node.where(), ": '",
           node.scalar,
           "': adapters ('model+lora') are not supported: merge the adapter into its "
           "model first");
  fail(ErrorCode::kNotFound, node.where(), ": no model directory '", node.scalar,
       "' (looked in the current directory and beside the recipe; models are not downloaded)");
}

RecipeModel parse_model(const YamlNode& node, const Method& method) {
  std::vector<std::string> known = {"model", "parameters"};
  if (method.needs_statistics) {
    known.emplace_back("statistics");
  }
  check_keys(node, known);
  const YamlNode* path = node.find("model");
  GM_CHECK(path != nullptr, kInvalidArgument, node.where(), ": key 'model' is missing");
  RecipeModel out;
  out.path = resolve(*path);
  out.parameters = parse_parameters(node.find("parameters"), model_keys(method), method);
  if (method.needs_statistics) {
    const YamlNode* statistics = node.find("statistics");
    GM_CHECK(statistics != nullptr && !statistics->is_null(), kInvalidArgument, node.where(),
             ": method ", method.name,
             " needs 'statistics' for each model: the directory that "
             "`growmerge stats` wrote");
    out.statistics = resolve(*statistics);
  }
  return out;
}

std::optional<std::string> dtype_of(const YamlNode& root, const char* key) {
  const YamlNode* node = root.find(key);
  if (node == nullptr || node->is_null()) {
    return std::nullopt;
  }
  std::string name = node->as_string();
  if (name.starts_with("torch.")) {
    name = name.substr(6);
  }
  (void)parse_dtype(name, node->where() + ": " + key);
  return name;
}

/// Numbers and flags must stay unquoted to be read as such again.
bool is_plain(const YamlNode& node) {
  return !node.quoted && !node.scalar.empty() &&
         std::all_of(node.scalar.begin(), node.scalar.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '+' || c == '-' || c == '_' || c == '/';
         });
}

/// The tree as flow YAML (a JSON superset): what the manifest keeps and identities are made of.
std::string dump(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "null";
    case YamlNode::Kind::kScalar:
      return is_plain(node) ? node.scalar : yaml_quote(node.scalar);
    case YamlNode::Kind::kSequence: {
      std::string out;
      for (const YamlNode& item : node.items) {
        out += (out.empty() ? "" : ", ") + dump(item);
      }
      return "[" + out + "]";
    }
    case YamlNode::Kind::kMap: {
      std::string out;
      for (const auto& [key, value] : node.entries) {
        out += (out.empty() ? "" : ", ") + yaml_quote(key) + ": " + dump(value);
      }
      return "{" + out + "}";
    }
  }
  return {};
}

}  // namespace

double Recipe::model_parameter(std::size_t model, const std::string& key,
                               std::optional<double> otherwise, const std::string& tensor,
                               double depth) const {
  const auto& own = models[model].parameters;
  for (const auto* values : {&own, &parameters}) {
    const auto it = values->find(key);
    if (it == values->end()) {
      continue;
    }
    if (const auto value = it->second.at(tensor, depth)) {
      return *value;
    }
  }
  GM_CHECK(otherwise.has_value(), kInvalidArgument, "method ", method->name, " needs a '", key,
           "' for model '", models[model].path.string(), "' at tensor '", tensor,
           "': give it under the model's parameters or at the top level");
  return *otherwise;
}

double Recipe::parameter(const std::string& key, double otherwise, const std::string& tensor,
                         double depth) const {
  const auto it = parameters.find(key);
  return it == parameters.end() ? otherwise : it->second.at(tensor, depth).value_or(otherwise);
}

Recipe parse_recipe(const YamlNode& root) {
  check_keys(root, {"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype",
                    "name", "random_seed"});
  const YamlNode* method = root.find("merge_method");
  GM_CHECK(method != nullptr, kInvalidArgument, root.where(), ": key 'merge_method' is missing");
  Recipe out;
  out.method = &find_method(method->as_string(), method->where());
  const YamlNode* models = root.find("models");
  GM_CHECK(models != nullptr && models->is_sequence() && !models->items.empty(), kInvalidArgument,
           root.where(), ": 'models' must be a list of {model, parameters}");
  for (const YamlNode& item : models->items) {
    out.models.push_back(parse_model(item, *out.method));
  }
  if (const YamlNode* base = root.find("base_model"); base != nullptr && !base->is_null()) {
    const fs::path path = resolve(*base);
    const auto is_base = [&path](const RecipeModel& model) {
      return fs::weakly_canonical(model.path) == fs::weakly_canonical(path);
    };
    const auto listed = std::find_if(out.models.begin(), out.models.end(), is_base);
    if (out.method->base == BaseUse::kRequired) {
      out.base = path;
      out.models.erase(std::remove_if(out.models.begin(), out.models.end(), is_base),
                       out.models.end());
    } else {
      GM_CHECK(listed != out.models.end(), kInvalidArgument, base->where(), ": method ",
               out.method->name, " has no base: list '", base->scalar,
               "' under models with a weight, or remove base_model");
    }
  } else {
    GM_CHECK(out.method->base != BaseUse::kRequired, kInvalidArgument, root.where(), ": method ",
             out.method->name,
             " needs 'base_model': the checkpoint that the models continued "
             "from");
  }
  GM_CHECK(!out.models.empty(), kInvalidArgument, models->where(),
           ": no model is left beside the base");
  out.parameters = parse_parameters(root.find("parameters"), global_keys(*out.method), *out.method);
  out.dtype = dtype_of(root, "dtype");
  out.out_dtype = dtype_of(root, "out_dtype");
  if (const YamlNode* seed = root.find("random_seed"); seed != nullptr) {
    GM_CHECK(out.method->is_random, kInvalidArgument, seed->where(), ": method ", out.method->name,
             " draws no random numbers: remove random_seed");
    const std::int64_t value = seed->as_int();
    GM_CHECK(value >= 0, kInvalidArgument, seed->where(), ": random_seed ", value, " is negative");
    out.random_seed = static_cast<std::uint64_t>(value);
  }
  out.text = dump(root) + "\n";
  return out;
}

Recipe load_recipe(const fs::path& path, std::span<const std::string> overrides) {
  YamlNode root = parse_yaml_file(path);
  for (const std::string& assignment : overrides) {
    apply_override(root, assignment);
  }
  return parse_recipe(root);
}

}  // namespace growmerge::merging
