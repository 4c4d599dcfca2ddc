// A YAML document as a small value tree with positions, so that every complaint can name file, line
// and column. The only place that sees yaml-cpp is yaml.cpp. Duplicate keys are refused while
// parsing; a merge key (`<<: *defaults`, YAML 1.1) fills in the keys that its map does not have.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace growmerge {

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;
  bool quoted = false;                                    // "12" is a string, 12 is a number
  std::vector<YamlNode> items;                            // kSequence
  std::vector<std::pair<std::string, YamlNode>> entries;  // kMap, in file order
  std::string file;
  int line = 0;    // 1-based; 0 for values that come from the command line
  int column = 0;  // 1-based

  [[nodiscard]] bool is_null() const { return kind == Kind::kNull; }
  [[nodiscard]] bool is_scalar() const { return kind == Kind::kScalar; }
  [[nodiscard]] bool is_sequence() const { return kind == Kind::kSequence; }
  [[nodiscard]] bool is_map() const { return kind == Kind::kMap; }
  /// The value under key, or nullptr where this is no map or has no such key.
  [[nodiscard]] const YamlNode* find(const std::string& key) const;
  [[nodiscard]] YamlNode* find(const std::string& key);
  /// "file.yaml:12:3", for error messages.
  [[nodiscard]] std::string where() const;

  /// A scalar's value. Errors: kInvalidArgument naming where(), what was expected and what stands
  /// there.
  [[nodiscard]] bool as_bool() const;
  [[nodiscard]] std::int64_t as_int()
      const;  // accepts 1_000, 1e6 when whole, and k/M/G suffixes (1000-based)
  [[nodiscard]] double as_double() const;
  [[nodiscard]] const std::string& as_string() const;
};

/// Errors: kNotFound when the file is absent, kInvalidArgument with file:line:column for broken
/// YAML, a duplicate key or a second document.
[[nodiscard]] YamlNode parse_yaml_file(const std::filesystem::path& path);
[[nodiscard]] YamlNode parse_yaml_text(const std::string& text, const std::string& name);
/// All documents of a file, for readers that take several. Errors: as above but for the last; an
/// empty document is left out.
[[nodiscard]] std::vector<YamlNode> parse_yaml_documents(const std::string& text,
                                                         const std::string& name);

/// Applies "a.b.c=value" (value is YAML; list items by index: "stages.0.steps=5"). Creates maps on
/// the way. Errors: kInvalidArgument for a missing '=' or a path that runs through a scalar.
void apply_override(YamlNode& root, const std::string& assignment);

/// Quotes a string for YAML output only where it is needed.
[[nodiscard]] std::string yaml_quote(const std::string& text);

}  // namespace growmerge
