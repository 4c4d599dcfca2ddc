// How an item is scored: every convention that published figures differ by, as a setting.
//
// An item is right when its right choice scores higher than every other. A kind of task (see
// eval/tasks/kind.h) has two presets:
//   original  what the benchmark's own code decides; a tie is wrong
//   lm-eval   what lm-evaluation-harness decides: its delimiter, and of equal scores the first
// Both prefix BOS (EOS where the model has none) to a sentence without context and score the first
// token given it. Deviation from lm-eval: token log-probabilities are float32 and their sums
// float64, whatever the dtype of the model; sums in bfloat16 tie by the dozen and are not imitated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/config.h"
#include "core/model/model_config.h"

namespace growmerge::eval {

struct ScoringRules {
  std::string prefix = "auto";         // auto | bos | eos | none | tokenizer
  std::string delimiter;               // text put before each choice
  std::string tie = "wrong";           // wrong | right | first
  std::string first_token = "scored";  // scored | free
  std::string normalisation = "sum";   // sum | token | character | byte: what `acc` compares
  std::string overlong = "windows";  // windows | error | truncate: items beyond the context length

  /// Errors: kInvalidArgument naming the setting, its value and the values there are.
  void validate() const;

  bool operator==(const ScoringRules&) const = default;
};

/// What a user may change of a preset; absent members keep the preset's value.
struct RuleChanges {
  std::optional<std::string> prefix;
  std::optional<std::string> delimiter;
  std::optional<std::string> tie;
  std::optional<std::string> first_token;
  std::optional<std::string> normalisation;
  std::optional<std::string> overlong;

  void describe(FieldVisitor& v) {
    v("prefix", prefix, "",
      "auto (BOS, EOS where none), bos, eos, none, or tokenizer (what the tokenizer puts in front "
      "of "
      "a context; auto where there is none)");
    v("delimiter", delimiter, "", "text put before each sentence or choice");
    v("tie", tie, "",
      "what equal scores count as: wrong, right, or first (the first choice of equals wins)");
    v("first_token", first_token, "", "scored or free");
    v("normalisation", normalisation, "", "sum, token, character or byte");
    v("overlong", overlong, "", "windows, error or truncate (the context loses its beginning)");
  }
};

/// The rules of a preset ("original" or "lm-eval") of a kind of task with the user's changes.
/// Errors: kInvalidArgument.
[[nodiscard]] ScoringRules resolve_rules(const std::string& preset, const std::string& kind,
                                         const RuleChanges& changes);

/// The token that a prefix setting stands for, or nothing for "none". Errors: kInvalidArgument when
/// the model has no such token.
[[nodiscard]] std::optional<std::int32_t> prefix_token(const ModelConfig& config,
                                                       const std::string& prefix);

}  // namespace growmerge::eval
