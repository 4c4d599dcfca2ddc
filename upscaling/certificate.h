// The growth certificate: does the grown model compute what its source computes?
//
// Both models are run on the same token sequences in float64, float32 and bfloat16 arithmetic, with
// the weights as they were written, and compared by max |difference of logits| and by the
// difference of mean NLL. Tolerances follow what rounding alone explains, measured on the source:
//   float64   1e-10 rms, when the grown weights are float64 (loss 1e-10); written weights that are
//             rounded to float32 or bfloat16 get that precision's tolerance
//   float32   max(4 x the source's own float32-against-float64 error, 1e-5 rms)
//   bfloat16  2 x the source's own bfloat16-against-float32 error
// rms is the root mean square of the source's float64 logits. The mean NLL may differ by the same
// factors of the source's own error in it, which is taken as no smaller than 4 standard errors of a
// mean of its tokens' errors (a mean may be near 0 by luck), and always by 1e-10 | 1e-6 | 2e-3.
// Deterministic for given tokens.
//
// Sequences hold few of the ids, so the rows of embedding and head are compared for every id, from
// the definition of widening and not by the writer's code: the grown residual stream is n copies of
// the source's, hence each column block of the grown embedding is the source's, and for the head W
// with the final norm's gain g and normalisation factor f, the sum over column blocks of W g / f is
// the source's (wherever the division by n stands). Both up to one rounding of each grown weight to
// the dtype it was written in.
//
// Memory: neither model is held. Layers come one at a time for all sequences together; embedding
// and head of both stay, in float64, and three sequences' logits (certificate_bytes).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/model/model_source.h"

namespace growmerge::upscaling {

struct CertificateConfig {
  std::int64_t num_sequences = 4;
  std::int64_t sequence_tokens = 64;
  std::int64_t seed = 0;
  double f64_tolerance = 1e-10;
  double f32_tolerance = 1e-5;
  double f32_factor = 4.0;
  double bf16_factor = 2.0;

  void describe(FieldVisitor& v) {
    v("num_sequences", num_sequences, "sequences", "random token sequences to compare on");
    v("sequence_tokens", sequence_tokens, "tokens", "length of each");
    v("seed", seed, "", "of the random tokens");
    v("f64_tolerance", f64_tolerance, "rms of logits", "allowed in float64 on float64 weights");
    v("f32_tolerance", f32_tolerance, "rms of logits",
      "allowed in float32 whatever the source's own error");
    v("f32_factor", f32_factor, "",
      "allowed in float32, in units of the source's float32-against-float64 error");
    v("bf16_factor", bf16_factor, "",
      "allowed in bfloat16, in units of the source's bfloat16-against-float32 error");
  }
  /// Errors: kInvalidArgument.
  void validate() const;
};

/// One precision's comparison.
struct PrecisionCheck {
  std::string arithmetic;  // "float64", "float32", "bfloat16"
  double logit_difference = 0.0;
  double logit_tolerance = 0.0;
  double source_error = 0.0;  // the source's own, against the next higher precision
  double source_loss = 0.0;   // mean NLL, nats
  double grown_loss = 0.0;
  double loss_tolerance = 0.0;
  bool passed = false;  // false also when a logit is not finite
};

/// Comparison of one vocabulary-wide tensor, row by row.
struct RowCheck {
  std::string tensor;  // "embedding" or "head" (the final norm's gain included)
  std::int64_t num_rows = 0;
  std::int64_t worst_row = 0;  // token id
  double excess = 0.0;         // largest difference there over the allowed one; NaN counts as worst
  bool passed = false;
};

struct Certificate {
  static constexpr int kVersion = 2;
  std::string written_dtype;  // of the grown weights
  std::int64_t num_sequences = 0;
  std::int64_t num_tokens = 0;
  double logit_rms = 0.0;
  std::vector<PrecisionCheck> checks;
  std::vector<RowCheck> rows;  // embedding, head

  [[nodiscard]] bool passed() const;
  /// certificate.json (docs/methods/growth.md).
  [[nodiscard]] std::string json() const;
  /// The first check that failed, in words; empty when all passed.
  [[nodiscard]] std::string failure() const;
};

using TokenSequences = std::vector<std::vector<std::int64_t>>;

/// Philox-random ids, a pure function of (config, vocab_size).
[[nodiscard]] TokenSequences random_sequences(const CertificateConfig& config,
                                              std::int64_t vocab_size);

/// `source` and `grown` give the weights as written (their dtype says how). Sequences have at least
/// two tokens. Never throws for a difference: see Certificate::passed. Errors: kMismatch
/// (vocabularies differ, or the grown width is no multiple of the source's), kInvalidArgument (no
/// sequence, or one too short).
[[nodiscard]] Certificate certify_growth(const ModelSource& source, const ModelSource& grown,
                                         const CertificateConfig& config,
                                         const TokenSequences& sequences);
/// About what that needs at its peak, for as many sequences as the config draws.
[[nodiscard]] std::int64_t certificate_bytes(const ModelConfig& source, const ModelConfig& grown,
                                             const CertificateConfig& config,
                                             at::ScalarType written);

}  // namespace growmerge::upscaling
