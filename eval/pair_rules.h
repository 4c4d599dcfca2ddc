// How a minimal pair is scored: every convention that published figures differ by, as a setting.
//
// A pair is right when the good sentence scores higher than the bad one. Presets:
//   original  no space before the sentence, a tie is wrong (BLiMP's and MultiBLiMP's own code)
//   lm-eval   the task's own delimiter (a space for BLiMP, none elsewhere), a tie is right
//             (lm-evaluation-harness takes the first index of the maximum, and good is first)
// Both prefix BOS (EOS where the model has none) and score the first token given it.
// Deviation from lm-eval: token log-probabilities are float32 and their sums float64, whatever the
// dtype of the model; sums in bfloat16 tie by the dozen and are not imitated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/config.h"
#include "core/model/model_config.h"

namespace growmerge::eval {

struct PairRules {
  std::string prefix = "auto";         // auto | bos | eos | none
  std::string delimiter;               // text put before each sentence
  std::string tie = "wrong";           // wrong | right
  std::string first_token = "scored";  // scored | free
  std::string normalisation = "sum";   // sum | token | character | byte: what `acc` compares
  std::string overlong = "windows";    // windows | error: sentences beyond the context length

  void describe(FieldVisitor& v) {
    v("prefix", prefix, "",
      "token before the sentence: auto (BOS, EOS where none), bos, eos, none");
    v("delimiter", delimiter, "", "text put before each sentence; not counted in its length");
    v("tie", tie, "", "what equal scores count as: wrong or right");
    v("first_token", first_token, "", "scored, or free (never scored, as minicons does)");
    v("normalisation", normalisation, "",
      "score that decides: sum of log-probabilities, or it per token, character or byte");
    v("overlong", overlong, "",
      "sentences longer than the context: windows (half a context of stride) or error");
  }
  /// Errors: kInvalidArgument naming the setting, its value and the values there are.
  void validate() const;
};

/// What a user may change of a preset; absent members keep the preset's value.
struct PairRuleChanges {
  std::optional<std::string> prefix;
  std::optional<std::string> delimiter;
  std::optional<std::string> tie;
  std::optional<std::string> first_token;
  std::optional<std::string> normalisation;
  std::optional<std::string> overlong;

  void describe(FieldVisitor& v) {
    v("prefix", prefix, "", "auto (BOS, EOS where none), bos, eos or none");
    v("delimiter", delimiter, "", "text put before each sentence");
    v("tie", tie, "", "what equal scores count as: wrong or right");
    v("first_token", first_token, "", "scored or free");
    v("normalisation", normalisation, "", "sum, token, character or byte");
    v("overlong", overlong, "", "windows or error");
  }
};

/// The rules of a preset ("original" or "lm-eval") for a kind of task ("blimp", "multiblimp",
/// "pairs") with the user's changes. Errors: kInvalidArgument.
[[nodiscard]] PairRules resolve_rules(const std::string& preset, const std::string& kind,
                                      const PairRuleChanges& changes);

/// The token that a prefix setting stands for, or nothing for "none". Errors: kInvalidArgument when
/// the model has no such token.
[[nodiscard]] std::optional<std::int32_t> prefix_token(const ModelConfig& config,
                                                       const std::string& prefix);

}  // namespace growmerge::eval
