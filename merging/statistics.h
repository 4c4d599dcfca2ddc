// Statistics that data-aware merging reads: the diagonal Fisher information and token counts.
//
// Source: Matena & Raffel 2022, "Merging Models with Fisher-Weighted Averaging", arXiv 2111.09832,
// in the empirical form: F = mean over sequences of g^2, with g the gradient of one sequence's mean
// token NLL under the model, targets being the data's own tokens (not samples of the model).
// A sequence is one row of the BatchSource; rows without a target are skipped. Deviation: the paper
// takes the expectation over the model's predictions; data tokens cost one backward pass instead of
// many and are what the merge reads.
//
// A directory of statistics holds
//   fisher.safetensors        one float32 tensor per model tensor, same names and shapes; metadata
//                             format_version "1", model_identity, corpus_identity, num_sequences,
//                             num_tokens (scored targets)
//   token_counts.safetensors  "token_counts", int64 [V]: occurrences of each id among the inputs;
//                             same metadata
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/base/config.h"
#include "core/contracts/batch_source.h"
#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"
#include "core/store/param_map.h"

namespace growmerge::merging {

struct StatisticsConfig {
  std::int64_t num_sequences = 256;
  std::int64_t first_sequence = 0;

  void describe(FieldVisitor& v) {
    v("num_sequences", num_sequences, "sequences",
      "rows of the stream to average over; 0 takes all of a finite stream");
    v("first_sequence", first_sequence, "sequences", "row of the stream to begin at");
  }
  /// Errors: kInvalidArgument.
  void validate() const;
};

struct Statistics {
  ParamMap fisher;                 // float32, the model's names and shapes
  at::Tensor token_counts;         // int64 [V]
  std::int64_t num_sequences = 0;  // with at least one target
  std::int64_t num_tokens = 0;     // scored targets
};

/// Collective: rank r takes rows first + r, first + r + size, ...; the result is on every rank and
/// differs between numbers of ranks by float32 rounding alone. Computes in float32 (float64 for a
/// float64 model). Memory: gradients and Fisher, one copy of the model each, and the activations of
/// one row. Errors: kMismatch (vocabularies differ; the stream is too short), kCorrupt (a loss or
/// gradient is not finite, naming the row), kInvalidArgument (no target anywhere).
[[nodiscard]] Statistics compute_statistics(const StatisticsConfig& config, const Model& model,
                                            BatchSource& source, Communicator& comm);

/// What a directory of statistics was made from.
struct StatisticsOrigin {
  std::string model_identity;
  std::string corpus_identity;
};

/// Writes both files into `dir`, which exists. One rank calls it. Errors: kIo.
void save_statistics(const std::filesystem::path& dir, const Statistics& statistics,
                     const StatisticsOrigin& origin);
/// Errors: those of SafetensorsFile::open, and kCorrupt when metadata is missing or of an unknown
/// version.
[[nodiscard]] Statistics load_statistics(const std::filesystem::path& dir);

}  // namespace growmerge::merging
