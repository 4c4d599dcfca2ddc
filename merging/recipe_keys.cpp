#include "merging/recipe_keys.h"

#include <algorithm>

#include "core/base/config.h"
#include "core/base/error.h"

namespace growmerge::merging {
namespace {

struct Refusal {
  const char* key;
  const char* instead;
};

// Keys of mergekit's other tools, and of its recipes where they do not belong.
constexpr Refusal kUnsupportedKeys[] = {
    {"slices", "a recipe has one of models, slices and modules, at the top level or in a module"},
    {"modules", "a recipe has one of models, slices and modules, at the top level"},
    {"models", "a recipe has one of models, slices and modules, at the top level or in a module"},
    {"experts", "mixtures of experts (mergekit-moe) are not made here"},
    {"gate_mode", "mixtures of experts (mergekit-moe) are not made here"},
    {"shared_experts", "mixtures of experts (mergekit-moe) are not made here"},
    {"genome", "searches (mergekit-evolve) are not made here"},
    {"tasks", "searches (mergekit-evolve) are not made here"},
    {"override_architecture", "a model is what its config.json says"},
    {"trust_remote_code", "no code of a model is run"}};

}  // namespace

[[noreturn]] void refuse_key(const YamlNode& value, const std::string& key,
                             const std::vector<std::string>& known, std::string hint) {
  for (const Refusal& refusal : kUnsupportedKeys) {
    if (key == refusal.key) {
      fail(ErrorCode::kUnsupported, value.where(), ": '", key,
           "' is not supported here: ", refusal.instead);
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
      refuse_key(value, key, known);
    }
  }
}

const YamlNode* find_value(const YamlNode& map, const std::string& key) {
  const YamlNode* node = map.find(key);
  return node == nullptr || node->is_null() ? nullptr : node;
}

}  // namespace growmerge::merging
