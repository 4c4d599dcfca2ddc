// Scoring minimal pairs with a model under explicit rules.
#pragma once

#include <cstdint>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"
#include "core/tokenizer/tokenizer.h"
#include "eval/items.h"
#include "eval/pair_rules.h"
#include "eval/pair_task.h"
#include "eval/sequence_scorer.h"

namespace growmerge::eval {

/// Token ids of a task's sentences (delimiter included, no special tokens): good and bad of item i
/// at 2 i and 2 i + 1. A pure function of (task, delimiter, tokenizer), so it serves many models.
using EncodedPairs = std::vector<std::vector<std::int32_t>>;

/// Collective. Errors: kCorrupt naming the item whose text is not UTF-8.
[[nodiscard]] EncodedPairs encode_pairs(const PairTask& task, const std::string& delimiter,
                                        const Tokenizer& tokenizer, Communicator& comm);

/// One record per item, in the task's order, the same on every rank. Each distinct sentence is
/// computed once, so identical sentences always tie. A sentence that begins with the prefix token
/// itself is not given a second one (as in lm-eval). Collective. Errors: kCorrupt naming the item
/// whose score is not finite; kInvalidArgument naming the item that exceeds `context` under
/// overlong = error, or of which no token is scored; kMismatch (tokenizer and model).
[[nodiscard]] std::vector<PairRecord> score_pairs(const Model& model, const PairTask& task,
                                                  const EncodedPairs& encoded,
                                                  const PairRules& rules, std::int64_t context,
                                                  const ScorerOptions& options, Communicator& comm);

/// The score that `normalisation` compares: the sum, or it per token, character or byte.
[[nodiscard]] double pair_score(const PairRecord& item, int choice,
                                const std::string& normalisation);
/// Sets `tie` and `correct` from the scores.
void decide(PairRecord& item, const PairRules& rules);

}  // namespace growmerge::eval
