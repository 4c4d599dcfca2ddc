// The training stream: an endless (or epoch-limited) sequence of rows, each a pure function of
// (seed, mixture, row number).
//
// Row k belongs to one source (data/interleave.h). Each source is a stream of its own: in every
// epoch its documents stand in a new order, permuted_index() keyed by (seed, source, epoch); epochs
// follow one another without a gap, and the whole is cut every row_tokens tokens. So in one epoch
// each token is an input exactly once, and each pair of neighbours in a document is scored exactly
// once. A document that a row's end cuts goes on in the source's next row, as a new segment; the
// last position of the cut row has the next token as its target.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/contracts/batch_source.h"
#include "data/interleave.h"
#include "data/mixture.h"
#include "data/token_shard.h"

namespace growmerge::data {

/// The shuffled order of a shard's documents in one epoch. A token's document is found in
/// O(log(documents) + 64); building costs one permuted_index() a document; memory is 8 bytes for
/// every 64 documents.
class EpochOrder {
 public:
  EpochOrder(const TokenShard& shard, std::uint64_t seed, std::uint64_t stream);
  /// The document at `place` of this epoch's order.
  [[nodiscard]] std::uint64_t document(std::uint64_t place) const;

  struct Position {
    std::uint64_t place = 0;  // in this epoch's order
    std::uint64_t document = 0;
    std::uint64_t offset = 0;  // tokens into the document
  };
  /// Where token `token` of the epoch stands; token < the shard's tokens.
  [[nodiscard]] Position find(std::uint64_t token) const;

 private:
  static constexpr std::uint64_t kStride = 64;
  const TokenShard* shard_;
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::vector<std::uint64_t> starts_;  // first token of every kStride-th document
};

/// What a number of rows takes from one source.
struct SourceUse {
  std::string name;
  std::string path;
  std::int64_t rows = 0;
  std::int64_t tokens = 0;
  double epochs = 0.0;
};

class TokenStream final : public BatchSource {
 public:
  /// Errors: those of MixtureConfig::validate(), find_shard() and TokenShard::open(); kMismatch
  /// when shards were made with different tokenizers or do not fit the model; kInvalidArgument when
  /// a source is shorter than a row.
  [[nodiscard]] static std::unique_ptr<TokenStream> open(const MixtureConfig& config,
                                                         const ModelFit& fit);

  /// One thread at a time. Errors: kInvalidArgument when the stream ends before.
  [[nodiscard]] Batch rows(std::int64_t first, std::int64_t count) override;
  [[nodiscard]] std::int64_t num_rows() const override { return num_rows_; }
  [[nodiscard]] std::int64_t row_tokens() const override { return config_.row_tokens; }
  [[nodiscard]] std::int64_t vocab_size() const override { return vocab_size_; }
  [[nodiscard]] const std::vector<std::string>& source_names() const override { return names_; }
  [[nodiscard]] std::string identity() const override { return identity_; }

  /// What the first `rows` rows take from each source.
  [[nodiscard]] std::vector<SourceUse> use(std::int64_t rows) const;

 private:
  struct Source {
    TokenShard shard;
    std::int32_t name = 0;                      // index into names_
    std::map<std::int64_t, EpochOrder> epochs;  // the latest few
  };
  TokenStream(const MixtureConfig& config, const ModelFit& fit);
  [[nodiscard]] Interleave plan_rows();
  const EpochOrder& epoch_order(std::size_t source, std::int64_t epoch);
  void fill_row(std::size_t source, std::int64_t index, class RowBuilder& builder);

  MixtureConfig config_;
  std::vector<Source> sources_;
  std::vector<std::string> names_;
  std::int64_t vocab_size_ = 0;
  std::int64_t num_rows_ = -1;
  std::unique_ptr<Interleave> interleave_;
  std::string identity_;
};

}  // namespace growmerge::data
