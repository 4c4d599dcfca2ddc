// Model families as data: a row each. What a family computes differently is a plain value of its
// row or of its defaults; the code asks for the value and never for the name.
//
// To add a family (docs/methods/model.md says it at length): its row here; a row of the tensor
// table for each new tensor; a part of the block that computes what is new, where something is; a
// line in the reference test.
#pragma once

#include <string>
#include <vector>

#include "core/model/model_config.h"

namespace growmerge {

struct Family {
  const char* architecture;  // of config.json's "architectures"
  const char* model_type;
  /// What Transformers' configuration class takes where config.json says nothing.
  ModelConfig defaults;
  /// Keys of ModelConfig::describe() that this family has beside those that all have. What a family
  /// has not is as its defaults say, and is neither read nor written.
  std::vector<const char*> own_keys;
  /// What sliding_window means where config.json lacks use_sliding_window.
  bool uses_sliding_window = true;
  /// attention_bias means the output projection, too.
  bool attention_output_bias = true;
  /// The architecture that remains when growth has folded the head's factor into the weights.
  const char* folds_into = nullptr;
};

[[nodiscard]] const std::vector<Family>& families();
/// Null where there is none.
[[nodiscard]] const Family* find_family(const std::string& architecture);
/// Errors: kUnsupported naming those that are there.
[[nodiscard]] const Family& family_of(const std::string& architecture);
/// By its model_type; null where there is none.
[[nodiscard]] const Family* find_family_of_type(const std::string& model_type);

/// What is understood, as Markdown for docs/config.md: the families, and the keys of config.json.
[[nodiscard]] std::string model_config_docs();

/// Whether only some families have this key of ModelConfig::describe().
[[nodiscard]] bool is_own_key(const std::string& key);
[[nodiscard]] bool has_key(const Family& family, const std::string& key);

}  // namespace growmerge
