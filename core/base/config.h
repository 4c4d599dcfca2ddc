// Configuration structs: one describe() per struct drives loading, overriding, printing, comparing,
// docs/config.md and the identity of what is made with them.
//
//   struct OptimConfig {
//     double lr = 3e-4;
//     template <class V> void describe(V& v) { v("lr", lr, "", "peak learning rate"); }
//   };
//
// Kinds of members: bool, std::int64_t, double, std::string; std::optional of those; std::vector of
// those; structs with describe(); std::vector of structs; std::map<std::string, struct> (keys are
// free names). describe() is a template only in form: V is always FieldVisitor, so writing `void
// describe(FieldVisitor& v)` is the same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/yaml.h"

namespace growmerge {

class FieldVisitor;

/// How a member counts in the identity of what is made with it.
enum class FieldUse {
  kValue,  // decides the result: its value counts
  kInput,  // a path that is read: what lies there counts, and not where
  kPlace,  // where and how work is done (device, log interval): never counts
};

/// What describe() says of one member.
struct FieldInfo {
  std::string key;
  std::string unit;  // "tokens", "steps", "s", "dB"; empty when dimensionless
  std::string help;
  FieldUse use = FieldUse::kValue;
  bool is_neutral = false;  // of added(): computes what was computed before the member was there
};

using ScalarRef =
    std::variant<bool*, std::int64_t*, double*, std::string*, std::optional<bool>*,
                 std::optional<std::int64_t>*, std::optional<double>*, std::optional<std::string>*,
                 std::vector<std::int64_t>*, std::vector<double>*, std::vector<std::string>*>;

/// A member that is a list or a map of structs.
struct ListRef {
  std::function<std::size_t()> size;
  std::function<void()> clear;
  std::function<void(const std::string& key)> append;  // key is empty for lists
  std::function<std::string(std::size_t)> key;         // empty for lists
  std::function<void(std::size_t, FieldVisitor&)> describe;
  std::function<void(FieldVisitor&)> describe_default;  // a fresh element, for the docs
  bool is_map = false;
};

class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;

  // For describe(): v("path", path, "", "what is read", v.kInput).
  static constexpr FieldUse kInput = FieldUse::kInput;
  static constexpr FieldUse kPlace = FieldUse::kPlace;

  template <class T>
  void operator()(const char* key, T& member, const char* unit, const char* help,
                  FieldUse use = FieldUse::kValue) {
    visit({key, unit, help, use}, member);
  }

  /// A member that a later version added. Where it is `neutral`, the value that computes what was
  /// computed before the member was there, it does not count in identities, so that what is
  /// finished stays so. `neutral` says what was, and never follows a default that moves.
  template <class T>
  void added(const char* key, T& member, const std::type_identity_t<T>& neutral, const char* unit,
             const char* help) {
    visit({key, unit, help, FieldUse::kValue, member == neutral}, member);
  }

 protected:
  virtual void scalar(const FieldInfo& info, ScalarRef member) = 0;
  virtual void object(const FieldInfo& info,
                      const std::function<void(FieldVisitor&)>& describe) = 0;
  virtual void list(const FieldInfo& info, const ListRef& member) = 0;

 private:
  template <class T>
  void visit(const FieldInfo& info, T& member) {
    if constexpr (std::is_constructible_v<ScalarRef, T*>) {
      scalar(info, ScalarRef(&member));
    } else if constexpr (requires { member.describe(*this); }) {
      object(info, [&member](FieldVisitor& v) { member.describe(v); });
    } else {
      list(info, list_ref(member));
    }
  }
  template <class T>
  static ListRef list_ref(std::vector<T>& v) {
    return {.size = [&v] { return v.size(); },
            .clear = [&v] { v.clear(); },
            .append = [&v](const std::string&) { v.emplace_back(); },
            .key = [](std::size_t) { return std::string(); },
            .describe = [&v](std::size_t i, FieldVisitor& visitor) { v[i].describe(visitor); },
            .describe_default = [](FieldVisitor& visitor) { T().describe(visitor); },
            .is_map = false};
  }
  template <class T>
  static ListRef list_ref(std::map<std::string, T>& m) {
    return {.size = [&m] { return m.size(); },
            .clear = [&m] { m.clear(); },
            .append = [&m](const std::string& key) { m[key]; },
            .key =
                [&m](std::size_t i) {
                  return std::next(m.begin(), static_cast<std::ptrdiff_t>(i))->first;
                },
            .describe =
                [&m](std::size_t i, FieldVisitor& visitor) {
                  std::next(m.begin(), static_cast<std::ptrdiff_t>(i))->second.describe(visitor);
                },
            .describe_default = [](FieldVisitor& visitor) { T().describe(visitor); },
            .is_map = true};
  }
};

using DescribeFn = std::function<void(FieldVisitor&)>;

/// Sets the described members from a YAML map; keys that are absent keep their defaults.
/// Errors: kInvalidArgument with file:line for an unknown key (naming the nearest known one) or a
/// wrong type.
void load_fields(const YamlNode& node, const DescribeFn& describe);
/// The described members as YAML text, every key written, ready to be loaded again.
[[nodiscard]] std::string dump_fields(const DescribeFn& describe);
/// Markdown table rows "| `key` | default | unit | help |" for docs/config.md.
[[nodiscard]] std::string document_fields(const DescribeFn& describe);

/// A described scalar with its place in the config.
struct DescribedField {
  std::string key;                  // "mixture.sources[0].weight", "models.base.role"
  std::string value;                // as YAML on one line; of an input its path, as given
  FieldUse use = FieldUse::kValue;  // never kPlace
  bool operator==(const DescribedField&) const = default;
};
/// What counts of a config, in the order of description: places, what is neutral and empty lists
/// are left out; a list also counts its entries and a map their names, as a field of its own key.
[[nodiscard]] std::vector<DescribedField> list_fields(const DescribeFn& describe);
/// The same of a config that no struct describes. Scalars of a key among `input_keys` are inputs.
[[nodiscard]] std::vector<DescribedField> list_fields(const YamlNode& node,
                                                      std::span<const std::string> input_keys);

template <class T>
[[nodiscard]] T config_from_yaml(const YamlNode& node) {
  T config;
  load_fields(node, [&config](FieldVisitor& v) { config.describe(v); });
  if constexpr (requires { config.validate(); }) {
    config.validate();
  }
  return config;
}

/// Loads `path` (or only defaults when empty), applies "--set" overrides, validates.
template <class T>
[[nodiscard]] T load_config(const std::filesystem::path& path,
                            std::span<const std::string> overrides) {
  YamlNode root;
  root.kind = YamlNode::Kind::kMap;
  if (!path.empty()) {
    root = parse_yaml_file(path);
  }
  for (const std::string& assignment : overrides) {
    apply_override(root, assignment);
  }
  return config_from_yaml<T>(root);
}

template <class T>
[[nodiscard]] std::string dump_config(const T& config) {
  T copy = config;
  return dump_fields([&copy](FieldVisitor& v) { copy.describe(v); });
}

/// The candidate that is nearest to `word` by edit distance, for "did you mean"; empty when none is
/// near.
[[nodiscard]] std::string nearest_name(const std::string& word,
                                       std::span<const std::string> candidates);

}  // namespace growmerge
