// Scoring the choices of items with a model under explicit rules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"
#include "core/tokenizer/tokenizer.h"
#include "eval/encode.h"
#include "eval/items.h"
#include "eval/scoring_rules.h"
#include "eval/sequence_scorer.h"
#include "eval/task.h"

namespace growmerge::eval {

/// Token ids of a task's choices (context and delimiter in front), item after item. Choice and
/// context are encoded together and cut where the tokens of the context alone end, white space at
/// the context's end being the choice's (as in lm-eval). A pure function of (task, rules,
/// tokenizer), so it serves many models. Collective. Errors: kCorrupt naming the item whose text is
/// not UTF-8.
[[nodiscard]] EncodedTexts encode_choices(const Task& task, const ScoringRules& rules,
                                          const Tokenizer& tokenizer, Communicator& comm);

/// One record per item, in the task's order, the same on every rank. Each distinct sentence is
/// computed once, so identical sentences always tie, and what choices have in common, their context
/// above all, once a batch. A sentence that begins with the prefix token
/// itself is not given a second one (as in lm-eval). Collective. Errors: kCorrupt naming the item
/// whose score is not finite; kInvalidArgument naming the item that exceeds `context` under
/// overlong = error, or of which no token is scored; kMismatch (tokenizer and model).
[[nodiscard]] std::vector<ItemRecord> score_choices(const Model& model, const Task& task,
                                                    const EncodedTexts& encoded,
                                                    const ScoringRules& rules, std::int64_t context,
                                                    const ScorerOptions& options,
                                                    Communicator& comm);

/// The score that `normalisation` compares: the sum, or it per token, character or byte.
[[nodiscard]] double choice_score(const ItemRecord& item, std::size_t choice,
                                  const std::string& normalisation);
/// 1 + how many other choices beat the right one, under the rules' normalisation and rule for ties.
[[nodiscard]] std::int64_t rank_of_gold(const ItemRecord& item, const ScoringRules& rules);
/// Sets `tie` and `correct` from the scores. Errors: kInvalidArgument when a score per token is
/// asked for and a choice has no scored token.
void decide(ItemRecord& item, const ScoringRules& rules);

}  // namespace growmerge::eval
