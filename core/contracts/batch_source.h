// Batches of packed token sequences, and where the stream of them stands.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace growmerge {

/// B rows (sequences) of T tokens each, flattened to N = B * T positions.
///
/// A segment is a run of positions that see each other causally: a document's part of one row (or a
/// whole row where documents are not kept apart). Positions (RoPE) count from 0 at each segment's
/// start. A target is the next token of the same segment, or kIgnoredTarget where there is none to
/// predict.
struct Batch {
  static constexpr std::int64_t kIgnoredTarget = -100;

  std::int64_t num_rows = 0;    // B
  std::int64_t row_tokens = 0;  // T
  at::Tensor tokens;            // int64 [N]
  at::Tensor targets;           // int64 [N]
  std::vector<std::int32_t>
      segment_starts;  // ascending, first 0, last N: segment i is [starts[i], starts[i+1])
  std::vector<std::int32_t>
      row_sources;  // [B] index into BatchSource::source_names(): language of each row

  [[nodiscard]] std::int64_t num_positions() const { return num_rows * row_tokens; }
  /// Positions whose target is scored.
  [[nodiscard]] std::int64_t num_targets() const;
};

/// A stream of rows; which row stands at which position is a pure function of (seed, mixture,
/// position).
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// Rows [first, first + count) of the global stream. Never depends on rank or world size: the
  /// caller picks its rows.
  [[nodiscard]] virtual Batch rows(std::int64_t first, std::int64_t count) = 0;
  /// Number of rows in the stream, or -1 when it never ends.
  [[nodiscard]] virtual std::int64_t num_rows() const = 0;
  [[nodiscard]] virtual std::int64_t row_tokens() const = 0;
  [[nodiscard]] virtual std::int64_t vocab_size() const = 0;
  /// Names of the languages (or sources) that Batch::row_sources points into.
  [[nodiscard]] virtual const std::vector<std::string>& source_names() const = 0;
  /// A hash of everything that determines the stream (shard hashes, weights, seed, row length); a
  /// checkpoint stores it and resuming with another one is refused.
  [[nodiscard]] virtual std::string identity() const = 0;
};

}  // namespace growmerge
