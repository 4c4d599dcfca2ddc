#include "merging/model_reference.h"

#include <optional>

#include "core/base/error.h"
#include "core/store/hub_cache.h"

namespace growmerge::merging {
namespace {

namespace fs = std::filesystem;

/// Where `text` is, or nothing. A node without a file of origin is taken as it is.
std::optional<fs::path> find_directory(const std::string& text, const YamlNode& node) {
  const fs::path given = text;
  if (given.is_absolute() || fs::exists(given) || node.file.empty()) {
    return given;
  }
  const fs::path beside = fs::path(node.file).parent_path() / given;
  return fs::exists(beside) ? std::optional(beside) : std::nullopt;
}

[[noreturn]] void refuse_missing(const std::string& text, const YamlNode& node) {
  const std::string advice = missing_model_advice(text);
  fail(ErrorCode::kNotFound, node.where(), ": no model directory '", text,
       "' (looked in the current directory and beside the recipe)",
       advice.empty() ? ": models are not downloaded" : advice);
}

/// "model+adapter", both of which must be there.
ModelReference parse_with_adapter(const std::string& text, std::size_t plus, const YamlNode& node) {
  const std::string model = text.substr(0, plus);
  const std::string adapter = text.substr(plus + 1);
  GM_CHECK(!model.empty() && !adapter.empty() && adapter.find('+') == std::string::npos,
           kInvalidArgument, node.where(), ": '", text,
           "': expected one model and one adapter, as model+adapter");
  ModelReference out;
  for (const auto& [part, path] : {std::pair(&model, &out.path), {&adapter, &out.adapter}}) {
    const std::optional<fs::path> found = find_directory(*part, node);
    GM_CHECK(found.has_value(), kUnsupported, node.where(), ": '", text, "': no directory '", *part,
             "': models and adapters that are not on this machine are not supported: download them "
             "first, or write the path");
    *path = *found;
  }
  return out;
}

/// mergekit's {model: ..., lora: ..., override_architecture: ...}, with {path, revision} inside.
ModelReference parse_map(const YamlNode& node) {
  const auto path_of = [&node](const YamlNode& value) {
    if (!value.is_map()) {
      return resolve_directory(value);
    }
    const YamlNode* path = value.find("path");
    GM_CHECK(path != nullptr, kInvalidArgument, node.where(), ": expected 'path' of a model");
    if (const YamlNode* revision = value.find("revision"); revision && !revision->is_null()) {
      YamlNode both = *path;
      both.scalar += "@" + revision->as_string();
      return resolve_directory(both);
    }
    return resolve_directory(*path);
  };
  ModelReference out;
  for (const auto& [key, value] : node.entries) {
    GM_CHECK(key != "override_architecture" || value.is_null(), kUnsupported, value.where(),
             ": 'override_architecture' is not supported: a model is what its config.json says");
    GM_CHECK(key == "model" || key == "lora" || key == "override_architecture" || key == "path" ||
                 key == "revision",
             kInvalidArgument, value.where(), ": unknown key '", key,
             "' of a model (there are: model, lora)");
  }
  const YamlNode* model = node.find("model");
  out.path = path_of(model != nullptr ? *model : node);
  if (const YamlNode* lora = node.find("lora"); lora != nullptr && !lora->is_null()) {
    out.adapter = path_of(*lora);
  }
  return out;
}

}  // namespace

std::string ModelReference::text() const {
  return adapter.empty() ? path.string() : path.string() + "+" + adapter.string();
}

bool names_model(const std::string& key, const YamlNode& value) {
  return value.is_scalar() && value.scalar != "union" && value.scalar != "base" &&
         (key == "model" || key == "base_model" || key == "statistics" || key == "lora" ||
          key == "tokenizer_source" || key == "source");
}

bool same_model(const ModelReference& a, const ModelReference& b) {
  return fs::weakly_canonical(a.path) == fs::weakly_canonical(b.path) &&
         a.adapter.empty() == b.adapter.empty() &&
         (a.adapter.empty() || fs::weakly_canonical(a.adapter) == fs::weakly_canonical(b.adapter));
}

fs::path resolve_directory(const YamlNode& node) {
  GM_CHECK(node.is_scalar() && !node.scalar.empty(), kInvalidArgument, node.where(),
           ": expected the path of a model directory");
  const std::optional<fs::path> found = find_directory(node.scalar, node);
  if (!found) {
    refuse_missing(node.scalar, node);
  }
  return *found;
}

ModelReference parse_model_reference(const YamlNode& node) {
  if (node.is_map()) {
    return parse_map(node);
  }
  // A directory may have a '+' in its name: what is there as it is written, is no adapter.
  if (node.is_scalar()) {
    const std::size_t plus = node.scalar.find('+');
    const std::optional<fs::path> found = find_directory(node.scalar, node);
    if (plus != std::string::npos && !(found && fs::exists(*found))) {
      return parse_with_adapter(node.scalar, plus, node);
    }
  }
  return {.path = resolve_directory(node), .adapter = {}};
}

}  // namespace growmerge::merging
