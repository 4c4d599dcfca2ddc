// Sampling text from a model, token by token.
//
// Greedy takes the arg max (the first of equals). Otherwise a token is drawn from
// softmax(logits / temperature), float64, cut to the smallest set of most probable tokens whose
// probabilities reach top_p (Holtzman et al. 2020, arXiv:1904.09751). Draw number t of sample i is
// a pure function of (seed, i, t).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"
#include "core/tokenizer/tokenizer.h"
#include "eval/bits_per_byte.h"

namespace growmerge::eval {

struct SamplingConfig {
  double temperature = 1.0;
  double top_p = 1.0;
  std::int64_t max_tokens = 256;
  std::int64_t seed = 0;
  std::string prefix = "auto";

  void describe(FieldVisitor& v) {
    v("temperature", temperature, "", "divides the logits; 0 is greedy");
    v("top_p", top_p, "", "probability mass that is drawn from, most probable tokens first");
    v("max_tokens", max_tokens, "tokens", "most tokens of one sample");
    v("seed", seed, "", "of the draws");
    v("prefix", prefix, "", "token before the prompt: auto (BOS, EOS where none), bos, eos, none");
  }
  /// Errors: kInvalidArgument.
  void validate() const;
};

struct Sample {
  std::vector<std::int32_t> tokens;  // drawn ones, without the one that ended it
  std::string text;                  // prompt and drawn tokens, decoded
  bool ended = false;                // by EOS, or BOS (which opens another document)
};

/// One token from logits [V]. `uniform` in [0, 1) decides; not used when temperature is 0. Errors:
/// kCorrupt when a logit is NaN.
[[nodiscard]] std::int32_t draw_token(std::span<const float> logits, double temperature,
                                      double top_p, double uniform);

/// Continues `prompt` (may be empty). Stops at EOS, BOS, max_tokens or the model's context length.
/// Errors: kInvalidArgument (empty prompt without prefix, prompt beyond the context), kMismatch.
[[nodiscard]] Sample generate(const Model& model, const Tokenizer& tokenizer,
                              const std::string& prompt, const SamplingConfig& config,
                              std::uint64_t sample_index);

/// `count` documents from an empty prompt, {"sample-0", ...}: the model's own domain. The same on
/// every rank, for any number of ranks. Collective.
[[nodiscard]] std::vector<Document> sample_documents(const Model& model, const Tokenizer& tokenizer,
                                                     std::int64_t count,
                                                     const SamplingConfig& config,
                                                     Communicator& comm);
/// {"id", "text"} a line, written atomically. Errors: kIo.
void write_documents(const std::filesystem::path& path, const std::vector<Document>& documents);

}  // namespace growmerge::eval
