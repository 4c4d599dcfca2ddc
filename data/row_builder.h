// Lays pieces of documents into the rows of a Batch: tokens, targets and segments.
#pragma once

#include <cstdint>
#include <vector>

#include "core/contracts/batch_source.h"
#include "data/token_shard.h"

namespace growmerge::data {

class RowBuilder {
 public:
  RowBuilder(std::int64_t num_rows, std::int64_t row_tokens, bool cross_document);

  void begin_row(std::int32_t source);
  /// Tokens that the current row still lacks.
  [[nodiscard]] std::int64_t missing() const { return row_end_ - at_; }
  /// Appends document `document` of `shard` from its token `first` on, as much as fits the row.
  /// Returns the number of tokens taken. Where the document goes on, the last target is its next
  /// token; where it ends, the last position has no target (see set_last_target()).
  std::int64_t append(const TokenShard& shard, std::uint64_t document, std::uint64_t first);
  /// With cross_document, what follows a document's end is the next document's first token.
  void set_last_target(std::int64_t token);
  /// Fills the row with positions that have no target.
  void pad(std::int64_t token);
  [[nodiscard]] Batch finish();

 private:
  bool cross_document_;
  Batch batch_;
  std::int64_t* tokens_;
  std::int64_t* targets_;
  std::int64_t at_ = 0;
  std::int64_t row_begin_ = 0;
  std::int64_t row_end_ = 0;
  std::vector<std::int64_t> window_;
};

}  // namespace growmerge::data
