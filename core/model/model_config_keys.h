// Keys of a config.json that nobody here knows.
//
// What parse_model_config cannot do it refuses by name; a key that it has never heard of may change
// what the model computes as well, but most say nothing of that. They are carried along and named
// in a warning, since refusing them would refuse real checkpoints.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace growmerge {

/// An option that changes what a model computes and that is not done here.
struct RefusedOption {
  enum class When { kTrue, kPresent };
  const char* key;
  When when;
  const char* advice;  // follows the key in the message
};
[[nodiscard]] std::span<const RefusedOption> refused_options();

/// Keys of this config.json, in its order, that are neither read nor refused nor known to leave the
/// function alone. null, and "" say nothing and are skipped.
[[nodiscard]] std::vector<std::string> unknown_config_keys(const std::string& json_text);

/// The warning about them, and about a model_type that is missing, in one line; empty where there
/// is neither. `name` says which model.
[[nodiscard]] std::string config_warning(const std::string& json_text,
                                               const std::string& name);

}  // namespace growmerge
