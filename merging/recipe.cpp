#include "merging/recipe.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/store/hub_cache.h"
#include "core/store/safetensors.h"
#include "merging/methods/methods.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

/// Keys of mergekit that would change the result if they were left unread.
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
                              const std::vector<std::string>& known, std::string hint = "") {
  for (const Refusal& refusal : kUnsupportedKeys) {
    if (key == refusal.key) {
      fail(ErrorCode::kUnsupported, value.where(), ": '", key,
           "' is not supported: ", refusal.instead);
    }
  }
  const std::string nearest = nearest_name(key, known);
  if (hint.empty() && !nearest.empty()) {
    hint = ", did you mean '" + nearest + "'?";
  }
  std::string list;
  for (const std::string& name : known) {
    list += (list.empty() ? "" : ", ") + name;
  }
  fail(ErrorCode::kInvalidArgument, value.where(), ": unknown key '", key, "'", hint,
       " (there are: ", list, ")");
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

enum class Place { kModel, kTopLevel };

/// A model's own parameters are those of each model; the top level takes these for all models too.
bool is_taken_at(const Parameter& parameter, Place place) {
  return !parameter.is_idle &&
         (parameter.scope == Parameter::Scope::kModel || place == Place::kTopLevel);
}

/// Null where the method has none of that name.
const Parameter* find_parameter(const Method& method, const std::string& key) {
  const auto it = std::find_if(method.parameters.begin(), method.parameters.end(),
                               [&key](const Parameter& p) { return key == p.name; });
  return it == method.parameters.end() ? nullptr : &*it;
}

bool is_in_range(const Parameter& parameter, const ParameterValue& value) {
  return std::all_of(value.values().begin(), value.values().end(), [&parameter](double number) {
    return number >= parameter.min && number <= parameter.max;
  });
}

/// Says where the key belongs: another place of the recipe, or other methods.
[[noreturn]] void unknown_parameter(const YamlNode& value, const std::string& key,
                                    const Method& method, Place place) {
  std::vector<std::string> known;
  for (const Parameter& parameter : method.parameters) {
    if (is_taken_at(parameter, place)) {
      known.emplace_back(parameter.name);
    }
  }
  const auto reads = [&key](const Method& other) {
    const Parameter* parameter = find_parameter(other, key);
    return parameter != nullptr && !parameter->is_idle;
  };
  if (reads(method)) {
    unknown_key(value, key, known,
                concat(": method ", method.name, " takes it under the top level's parameters"));
  }
  std::string others;
  for (const Method& other : methods()) {
    if (reads(other)) {
      others += std::string(others.empty() ? "" : ", ") + other.name;
    }
  }
  unknown_key(value, key, known,
              others.empty() ? ""
                             : concat(": method ", method.name, " has no ", key,
                                      ": remove it, or use one that has: ", others));
}

/// Both ends of a gradient are looked at: what lies between them is in the range then too.
void check_range(const Parameter& parameter, const ParameterValue& value, const Method& method) {
  for (const double number : value.values()) {
    GM_CHECK(number >= parameter.min && number <= parameter.max, kInvalidArgument, value.where(),
             ": ", parameter.name, " ", number,
             number < 0.0 && parameter.min == 0.0 ? " is negative" : " is outside its range",
             ": method ", method.name, " takes ", range_text(parameter));
  }
}

std::map<std::string, ParameterValue> parse_parameters(const YamlNode* node, const Method& method,
                                                       Place place) {
  std::map<std::string, ParameterValue> out;
  if (node == nullptr || node->is_null()) {
    return out;
  }
  GM_CHECK(node->is_map(), kInvalidArgument, node->where(), ": 'parameters' must be a map");
  for (const auto& [key, value] : node->entries) {
    const Parameter* parameter = find_parameter(method, key);
    if (parameter == nullptr || !(parameter->is_idle || is_taken_at(*parameter, place))) {
      unknown_parameter(value, key, method, place);
    }
    const ParameterValue parsed = ParameterValue::parse(value, parameter->type, key);
    if (parameter->is_idle) {
      if (!is_in_range(*parameter, parsed)) {
        unknown_parameter(value, key, method, place);
      }
      continue;
    }
    check_range(*parameter, parsed, method);
    out.emplace(key, parsed);
  }
  return out;
}

/// Where a model is. Absolute paths are not looked up: an experiment names models to come.
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
  // mergekit writes a model with an adapter as model+lora.
  GM_CHECK(node.scalar.find('+') == std::string::npos, kUnsupported, node.where(), ": '",
           node.scalar,
           "': adapters ('model+lora') are not supported: merge the adapter into its "
           "model first");
  const std::string advice = missing_model_advice(node.scalar);
  fail(ErrorCode::kNotFound, node.where(), ": no model directory '", node.scalar,
       "' (looked in the current directory and beside the recipe)",
       advice.empty() ? ": models are not downloaded" : advice);
}

RecipeModel parse_model(const YamlNode& node, const Method& method) {
  std::vector<std::string> known = {"model", "parameters"};
  if (method.needs.fisher) {
    known.emplace_back("statistics");
  }
  check_keys(node, known);
  const YamlNode* path = node.find("model");
  GM_CHECK(path != nullptr, kInvalidArgument, node.where(), ": key 'model' is missing");
  RecipeModel out;
  out.path = resolve(*path);
  out.parameters = parse_parameters(node.find("parameters"), method, Place::kModel);
  if (method.needs.fisher) {
    const YamlNode* statistics = node.find("statistics");
    GM_CHECK(statistics != nullptr && !statistics->is_null(), kInvalidArgument, node.where(),
             ": method ", method.name,
             " needs 'statistics' for each model: the directory that "
             "`growmerge stats` wrote");
    out.statistics = resolve(*statistics);
  }
  return out;
}

/// The name without mergekit's "torch."; checked here, so that the error has a line.
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

/// Reads base_model. mergekit's recipes may list the base among the models; there it is no model.
void take_base(const YamlNode& root, Recipe& recipe) {
  const Method& method = *recipe.method;
  const YamlNode* base = root.find("base_model");
  if (base == nullptr || base->is_null()) {
    GM_CHECK(method.needs.base != BaseUse::kRequired, kInvalidArgument, root.where(), ": method ",
             method.name,
             " needs 'base_model': the checkpoint that the models continued "
             "from");
    return;
  }
  const fs::path path = resolve(*base);
  // Canonical: the recipe may write one directory in two ways.
  const auto is_base = [&path](const RecipeModel& model) {
    return fs::weakly_canonical(model.path) == fs::weakly_canonical(path);
  };
  if (method.needs.base == BaseUse::kRequired) {
    recipe.base = path;
    std::erase_if(recipe.models, is_base);
    return;
  }
  GM_CHECK(std::any_of(recipe.models.begin(), recipe.models.end(), is_base), kInvalidArgument,
           base->where(), ": method ", method.name, " has no base: list '", base->scalar,
           "' under models with a weight, or remove base_model");
}

/// The value of the first place that has one for the tensor.
std::optional<double> first_value(
    std::initializer_list<const std::map<std::string, ParameterValue>*> places,
    const std::string& key, const std::string& tensor, double depth) {
  for (const auto* place : places) {
    const auto it = place->find(key);
    if (it == place->end()) {
      continue;
    }
    // A list of filters may leave a tensor out: then the next place counts.
    if (const auto value = it->second.at(tensor, depth)) {
      return value;
    }
  }
  return std::nullopt;
}

}  // namespace

double Recipe::model_parameter(std::size_t model, const std::string& key,
                               std::optional<double> otherwise, const std::string& tensor,
                               double depth) const {
  const RecipeModel& own = models[model];
  const auto value = first_value({&own.parameters, &parameters}, key, tensor, depth);
  GM_CHECK(value.has_value() || otherwise.has_value(), kInvalidArgument, "method ", method->name,
           " needs a '", key, "' for model '", own.path.string(), "' at tensor '", tensor,
           "': give it under the model's parameters or at the top level");
  return value ? *value : *otherwise;
}

double Recipe::parameter(const std::string& key, std::optional<double> otherwise,
                         const std::string& tensor, double depth) const {
  const auto value = first_value({&parameters}, key, tensor, depth);
  GM_CHECK(value.has_value() || otherwise.has_value(), kInvalidArgument, "method ", method->name,
           " needs a '", key, "' at tensor '", tensor,
           "': give it under the top level's parameters");
  return value ? *value : *otherwise;
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
  take_base(root, out);
  GM_CHECK(!out.models.empty(), kInvalidArgument, models->where(),
           ": no model is left beside the base");
  out.parameters = parse_parameters(root.find("parameters"), *out.method, Place::kTopLevel);
  out.dtype = dtype_of(root, "dtype");
  out.out_dtype = dtype_of(root, "out_dtype");
  if (const YamlNode* seed = root.find("random_seed"); seed != nullptr) {
    GM_CHECK(out.method->needs.random_numbers, kInvalidArgument, seed->where(), ": method ",
             out.method->name, " draws no random numbers: remove random_seed");
    const std::int64_t value = seed->as_int();
    GM_CHECK(value >= 0, kInvalidArgument, seed->where(), ": random_seed ", value, " is negative");
    out.random_seed = static_cast<std::uint64_t>(value);
  }
  // Of the tree, not of the file: comments and order of blanks give no new identity.
  out.text = dump(root) + "\n";
  return out;
}

Recipe load_recipe(const fs::path& path, std::span<const std::string> overrides) {
  YamlNode root = parse_yaml_file(path);
  // Before parsing: an override is checked like the recipe, and is part of its text.
  for (const std::string& assignment : overrides) {
    apply_override(root, assignment);
  }
  return parse_recipe(root);
}

}  // namespace growmerge::merging
