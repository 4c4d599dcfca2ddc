// How a recipe names a model: mergekit's `path`, `path+adapter`, or a map of the two.
#pragma once

#include <filesystem>
#include <string>

#include "core/base/yaml.h"

namespace growmerge::merging {

struct ModelReference {
  std::filesystem::path path;
  std::filesystem::path adapter;  // a PEFT directory that is merged into it; empty: none

  /// As a recipe writes it: "path+adapter".
  [[nodiscard]] std::string text() const;
};

/// Whether the value of a recipe's key names a model, or what belongs to one (statistics, an
/// adapter, a tokenizer's model): "union" and "base" are words there.
[[nodiscard]] bool names_model(const std::string& key, const YamlNode& value);

/// Whether both name one model: a recipe may write one directory in two ways.
[[nodiscard]] bool same_model(const ModelReference& a, const ModelReference& b);

/// Relative paths are taken from the current directory, or, where nothing is there, from the
/// recipe's own; absolute ones are not looked up: an experiment names models to come. Errors:
/// kInvalidArgument with file:line; kNotFound; kUnsupported for an adapter that is not there, and
/// for override_architecture.
[[nodiscard]] ModelReference parse_model_reference(const YamlNode& node);

/// The path of a directory, likewise.
[[nodiscard]] std::filesystem::path resolve_directory(const YamlNode& node);

}  // namespace growmerge::merging
