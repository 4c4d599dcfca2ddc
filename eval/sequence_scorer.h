// Sums of token log-probabilities of many token sequences, in batches, over any number of ranks.
//
// Sequences are sorted by their tokens and packed into batches of at most `batch_tokens` different
// inputs: what sequences of a batch begin with in common is computed once, and so is a score that
// they share. No padding. Rank r of R computes batches r, r + R, ... Which sequences share a batch
// never depends on the number of ranks, so results are the same bits for any number of them. Token
// log-probabilities are float32 (float64 for float64 parameters), their sums float64 in token
// order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"

namespace growmerge::eval {

/// Scores tokens[first_scored .. end) given all tokens before them; 1 <= first_scored.
struct ScoreRequest {
  std::vector<std::int32_t> tokens;
  std::int64_t first_scored = 1;
};

struct ScorerOptions {
  // Inputs per forward pass; a longer sequence exceeds it alone. 1 computes every sequence by
  // itself, so that no other changes a bit.
  std::int64_t batch_tokens = 8192;
  std::string title = "scoring";  // of the progress line
  bool show_progress = false;
};

/// The batches: indices into `requests`, those that score something, in order of their tokens. A
/// pure function of its arguments.
[[nodiscard]] std::vector<std::vector<std::int64_t>> make_batches(
    const std::vector<ScoreRequest>& requests, std::int64_t batch_tokens);

/// One float64 sum (nats) per request, the same on every rank. Requests that score nothing get 0.
/// Collective. Errors: kCorrupt, naming name_of(request), when a score is not finite; kMismatch
/// when a token is outside the vocabulary.
[[nodiscard]] std::vector<double> score_sums(
    const Model& model, const std::vector<ScoreRequest>& requests,
    const std::function<std::string(std::int64_t)>& name_of, const ScorerOptions& options,
    Communicator& comm);

}  // namespace growmerge::eval
