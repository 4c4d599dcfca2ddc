#include "merging/recipe.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/store/safetensors.h"
#include "merging/methods/methods.h"
#include "merging/recipe_keys.h"
#include "merging/recipe_slices.h"
#include "merging/vocabulary/chat_template.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

// Methods that recipes name and that are not there: no mistake of spelling.
constexpr const char* kMissingMethods[] = {"regmean", "adamerging", "twin_merging", "dam"};

const Method& method_of(const YamlNode& node) {
  const std::string& name = node.as_string();
  const std::span<const Method> all = methods();
  if (std::find(std::begin(kMissingMethods), std::end(kMissingMethods), name) !=
      std::end(kMissingMethods)) {
    std::string list;
    for (const Method& method : all) {
      list += std::string(list.empty() ? "" : ", ") + method.name;
    }
    fail(ErrorCode::kUnsupported, node.where(), ": merge_method '", name,
         "' is not supported (there are: ", list, ")");
  }
  return find_method(name, node.where());
}

/// The name without mergekit's "torch."; checked here, so that the error has a line.
std::optional<std::string> dtype_of(const YamlNode& root, const char* key) {
  const YamlNode* node = find_value(root, key);
  if (node == nullptr) {
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

/// The tree as block YAML, for people.
std::string block(const YamlNode& node, const std::string& indent) {
  const auto is_short = [](const YamlNode& one) {
    return std::none_of(one.items.begin(), one.items.end(),
                        [](const YamlNode& item) { return item.is_map() || item.is_sequence(); });
  };
  std::string out;
  const auto add = [&](const std::string& lead, const YamlNode& value) {
    const bool nests = (value.is_map() && !value.entries.empty()) ||
                       (value.is_sequence() && !value.items.empty() && !is_short(value));
    if (!nests) {
      out += lead + " " + dump(value) + "\n";
    } else if (lead.ends_with("-") && value.is_map()) {
      out += lead + block(value, indent + "  ").substr(indent.size() + 1);
    } else {
      out += lead + "\n" + block(value, indent + "  ");
    }
  };
  for (const auto& [key, value] : node.entries) {
    add(indent + yaml_quote(key) + ":", value);
  }
  for (const YamlNode& item : node.items) {
    add(indent + "-", item);
  }
  return out;
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

/// Bytes, or mergekit's 5B, 200M, 10K.
std::uint64_t shard_size_of(const YamlNode& node) {
  YamlNode number = node;
  number.quoted = false;
  if (!number.scalar.empty()) {
    switch (number.scalar.back()) {
      case 'B':
      case 'b':
        number.scalar.back() = 'G';
        break;
      case 'm':
        number.scalar.back() = 'M';
        break;
      case 'K':
        number.scalar.back() = 'k';
        break;
      default:
        break;
    }
  }
  const std::int64_t bytes = number.as_int();
  GM_CHECK(bytes > 0, kInvalidArgument, node.where(), ": out_shard_size ", node.scalar,
           " is no positive number of bytes");
  return static_cast<std::uint64_t>(bytes);
}

/// Keys that are this program's, not mergekit's.
void take_own_keys(const YamlNode& root, Recipe& out) {
  if (const YamlNode* seed = find_value(root, "random_seed")) {
    GM_CHECK(out.method->needs.random_numbers, kInvalidArgument, seed->where(), ": method ",
             out.method->name, " draws no random numbers: remove random_seed");
    const std::int64_t value = seed->as_int();
    GM_CHECK(value >= 0, kInvalidArgument, seed->where(), ": random_seed ", value, " is negative");
    out.random_seed = static_cast<std::uint64_t>(value);
  }
  if (const YamlNode* strict = find_value(root, "strict")) {
    out.is_strict = strict->as_bool();
  }
  if (const YamlNode* size = find_value(root, "out_shard_size")) {
    out.shard_bytes = shard_size_of(*size);
  }
  if (const YamlNode* allowed = find_value(root, "allow_config_differences")) {
    GM_CHECK(allowed->is_sequence(), kInvalidArgument, allowed->where(),
             ": 'allow_config_differences' must be a list of keys of config.json");
    for (const YamlNode& key : allowed->items) {
      static const std::vector<std::string> known = {
          "rope_theta",     "rope_scaling", "rope_parameters",     "rms_norm_eps",
          "sliding_window", "layer_types",  "tie_word_embeddings", "max_position_embeddings"};
      if (std::find(known.begin(), known.end(), key.as_string()) == known.end()) {
        refuse_key(key, key.scalar, known);
      }
      out.allowed_differences.push_back(key.scalar);
    }
  }
}

}  // namespace

double Recipe::source_parameter(const RecipeSlice& slice, const RecipeSource& source,
                                const std::string& key, std::optional<double> otherwise,
                                const std::string& tensor, double depth) const {
  const auto value = first_value(
      {&source.parameters, &slice.parameters, &module_parameters, &parameters}, key, tensor, depth);
  GM_CHECK(value.has_value() || otherwise.has_value(), kInvalidArgument, "method ", method->name,
           " needs a '", key, "' for model '", models[source.model].text(), "' at tensor '", tensor,
           "': give it under the model's parameters or at the top level");
  return value ? *value : *otherwise;
}

double Recipe::slice_parameter(const RecipeSlice& slice, const std::string& key,
                               std::optional<double> otherwise, const std::string& tensor,
                               double depth) const {
  const auto value =
      first_value({&slice.parameters, &module_parameters, &parameters}, key, tensor, depth);
  GM_CHECK(value.has_value() || otherwise.has_value(), kInvalidArgument, "method ", method->name,
           " needs a '", key, "' at tensor '", tensor,
           "': give it under the top level's parameters");
  return value ? *value : *otherwise;
}

Recipe parse_recipe(const YamlNode& root) {
  check_keys(root, {"merge_method", "base_model", "models", "slices", "modules", "parameters",
                    "dtype", "out_dtype", "tokenizer_source", "tokenizer", "chat_template", "name",
                    "random_seed", "strict", "allow_config_differences", "out_shard_size"});
  const YamlNode* method = find_value(root, "merge_method");
  GM_CHECK(method != nullptr, kInvalidArgument, root.where(), ": key 'merge_method' is missing");
  Recipe out;
  out.method = &method_of(*method);
  out.parameters =
      parse_parameters(root.find("parameters"), *out.method, ParameterPlace::kShared, out.notes);
  take_slices(root, out);
  out.dtype = dtype_of(root, "dtype");
  out.out_dtype = dtype_of(root, "out_dtype");
  out.tokenizer = parse_tokenizer_recipe(root);
  if (const YamlNode* chat_template = find_value(root, "chat_template")) {
    out.chat_template = chat_template_text(*chat_template);
  }
  take_own_keys(root, out);
  // Of the tree, not of the file: comments and order of blanks give no new identity.
  out.text = dump(root) + "\n";
  out.yaml = block(root, "");
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
