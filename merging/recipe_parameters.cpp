#include "merging/recipe_parameters.h"

#include <algorithm>
#include <iterator>

#include "core/base/error.h"
#include "merging/methods/methods.h"
#include "merging/recipe_keys.h"

namespace growmerge::merging {
namespace {

/// A model's own parameters are those of each model; above several models stand those for all, too.
bool is_taken_at(const Parameter& parameter, ParameterPlace place) {
  return !parameter.is_idle &&
         (parameter.scope == Parameter::Scope::kModel || place == ParameterPlace::kShared);
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

// mergekit leaves parameters unread that a method does not have, and recipes are full of them.
// Taken are those that can ask for nothing: how masks are stored; what TIES and its like read, in
// methods that have no such step at all. In `linear` they would look like they do something.
struct Unread {
  const char* key;
  ParameterValue::Type type;
};
constexpr Unread kUnread[] = {
    {"density", ParameterValue::Type::kNumber}, {"gamma", ParameterValue::Type::kNumber},
    {"epsilon", ParameterValue::Type::kNumber}, {"lambda", ParameterValue::Type::kNumber},
    {"weight", ParameterValue::Type::kNumber},  {"t", ParameterValue::Type::kNumber},
    {"normalize", ParameterValue::Type::kFlag}, {"rescale", ParameterValue::Type::kFlag}};
constexpr const char* kMethodsWithoutSuchSteps[] = {
    "slerp",    "nuslerp",      "multislerp", "karcher",    "model_stock", "passthrough",
    "nearswap", "arcee_fusion", "ram",        "ramplus_tl", "sce"};

const Unread* find_unread(const Method& method, const std::string& key) {
  static constexpr Unread kMask = {"int8_mask", ParameterValue::Type::kFlag};
  static constexpr Unread kSparsifier = {"density", ParameterValue::Type::kNumber};
  if (key == kMask.key) {
    return &kMask;
  }
  const std::string name = method.name;
  if (key == kSparsifier.key && name == "task_arithmetic") {
    return &kSparsifier;
  }
  if (std::find(std::begin(kMethodsWithoutSuchSteps), std::end(kMethodsWithoutSuchSteps), name) ==
      std::end(kMethodsWithoutSuchSteps)) {
    return nullptr;
  }
  const auto* const it = std::find_if(std::begin(kUnread), std::end(kUnread),
                                      [&key](const Unread& one) { return key == one.key; });
  return it == std::end(kUnread) ? nullptr : it;
}

/// Says where the key belongs: another place of the recipe, or other methods.
[[noreturn]] void unknown_parameter(const YamlNode& value, const std::string& key,
                                    const Method& method, ParameterPlace place) {
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
    refuse_key(value, key, known,
               concat(": method ", method.name, " takes it under the top level's parameters"));
  }
  std::string others;
  for (const Method& other : methods()) {
    if (reads(other)) {
      others += std::string(others.empty() ? "" : ", ") + other.name;
    }
  }
  refuse_key(value, key, known,
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

void add_note(std::vector<std::string>& notes, std::string note) {
  if (std::find(notes.begin(), notes.end(), note) == notes.end()) {
    notes.push_back(std::move(note));
  }
}

std::string unread_note(const std::string& key, const Method& method) {
  return concat("parameter '", key, "' changes nothing: ", method.name, " does not read it");
}

/// An option of mergekit that asks for what is done anyway.
void check_idle(const Parameter& parameter, const ParameterValue& value, const YamlNode& node,
                const Method& method) {
  GM_CHECK(is_in_range(parameter, value), kInvalidArgument, node.where(), ": '", parameter.name,
           ": ", node.is_scalar() ? node.scalar : "...", "' is not supported with ", method.name,
           " (", range_text(parameter), " is accepted)");
}

}  // namespace

ParameterMap parse_parameters(const YamlNode* node, const Method& method, ParameterPlace place,
                              std::vector<std::string>& notes) {
  ParameterMap out;
  if (node == nullptr || node->is_null()) {
    return out;
  }
  GM_CHECK(node->is_map(), kInvalidArgument, node->where(), ": 'parameters' must be a map");
  for (const auto& [key, value] : node->entries) {
    const Parameter* parameter = find_parameter(method, key);
    if (parameter == nullptr) {
      const Unread* unread = find_unread(method, key);
      if (unread == nullptr) {
        unknown_parameter(value, key, method, place);
      }
      (void)ParameterValue::parse(value, unread->type, key);
      add_note(notes, unread_note(key, method));
      continue;
    }
    if (value.is_null() && !parameter->is_idle) {
      continue;  // as if it were not there
    }
    if (!parameter->is_idle && !is_taken_at(*parameter, place)) {
      unknown_parameter(value, key, method, place);
    }
    const ParameterValue parsed = ParameterValue::parse(value, parameter->type, key);
    if (parameter->is_idle) {
      check_idle(*parameter, parsed, value, method);
      add_note(notes, unread_note(key, method));
      continue;
    }
    check_range(*parameter, parsed, method);
    out.emplace(key, parsed);
  }
  return out;
}

}  // namespace growmerge::merging
