#include "eval/scoring_rules.h"

#include <initializer_list>

#include "core/base/error.h"
#include "eval/tasks/kind.h"

namespace growmerge::eval {
namespace {

void check_choice(const char* setting, const std::string& value,
                  std::initializer_list<const char*> choices) {
  std::string all;
  for (const char* choice : choices) {
    if (value == choice) {
      return;
    }
    all += (all.empty() ? "" : ", ") + std::string(choice);
  }
  fail(ErrorCode::kInvalidArgument, "scoring rules: ", setting, " is '", value,
       "', expected one of ", all);
}

}  // namespace

void ScoringRules::validate() const {
  check_choice("prefix", prefix, {"auto", "bos", "eos", "none", "tokenizer"});
  check_choice("tie", tie, {"wrong", "right", "first"});
  check_choice("first_token", first_token, {"scored", "free"});
  check_choice("normalisation", normalisation, {"sum", "token", "character", "byte"});
  check_choice("overlong", overlong, {"windows", "error", "truncate"});
  GM_CHECK(
      prefix != "none" || first_token == "free", kInvalidArgument,
      "scoring rules: with prefix 'none' nothing predicts the first token; set first_token: free");
}

ScoringRules resolve_rules(const std::string& preset, const std::string& kind,
                           const RuleChanges& changes) {
  check_choice("preset", preset, {"original", "lm-eval"});
  const TaskKind& row = task_kind(kind);
  ScoringRules rules = preset == "lm-eval" ? row.lm_eval : row.original;
  // What the user says wins over the preset, rule by rule.
  rules.prefix = changes.prefix.value_or(rules.prefix);
  rules.delimiter = changes.delimiter.value_or(rules.delimiter);
  rules.tie = changes.tie.value_or(rules.tie);
  rules.first_token = changes.first_token.value_or(rules.first_token);
  rules.normalisation = changes.normalisation.value_or(rules.normalisation);
  rules.overlong = changes.overlong.value_or(rules.overlong);
  rules.validate();
  return rules;
}

std::optional<std::int32_t> prefix_token(const ModelConfig& config, const std::string& prefix) {
  if (prefix == "none") {
    return std::nullopt;
  }
  // Without a context "tokenizer" is "auto": the harness puts its prefix token there, too.
  const bool either = prefix == "auto" || prefix == "tokenizer";
  const bool use_eos = prefix == "eos" || (either && !config.bos_token_id);
  if (use_eos) {
    GM_CHECK(!config.eos_token_ids.empty(), kInvalidArgument, "prefix '", prefix,
             "': the model's config.json names no ",
             either ? "bos_token_id and no eos_token_id" : "eos_token_id",
             "; add one, or set prefix: none with first_token: free");
  } else {
    GM_CHECK(
        config.bos_token_id.has_value(), kInvalidArgument,
        "prefix 'bos': the model's config.json names no bos_token_id; use prefix: eos or auto");
  }
  const std::int64_t id = use_eos ? config.eos_token_ids.front() : *config.bos_token_id;
  // A config.json beside another model's weights is caught here, not by reading out of bounds.
  GM_CHECK(id >= 0 && id < config.vocab_size, kMismatch, "prefix '", prefix, "': token ", id,
           " is outside the model's vocabulary of ", config.vocab_size);
  return static_cast<std::int32_t>(id);
}

}  // namespace growmerge::eval
