#include "data/held_out_stream.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "data/row_builder.h"
#include "data/shard_set.h"

namespace growmerge::data {
namespace {

/// The document that holds token `token` of the shard.
std::uint64_t document_of(const TokenShard& shard, std::uint64_t token) {
  std::uint64_t low = 0;
  std::uint64_t high = shard.num_documents();
  while (high - low > 1) {  // document_start(low) <= token < document_start(high)
    const std::uint64_t middle = low + (high - low) / 2;
    (shard.document_start(middle) <= token ? low : high) = middle;
  }
  return low;
}

void fill_row(const TokenShard& shard, std::uint64_t token, bool cross_document,
              RowBuilder& builder) {
  // Rows are cut by position, so most begin inside a document.
  std::uint64_t document = document_of(shard, token);
  std::uint64_t offset = token - shard.document_start(document);
  while (builder.missing() > 0 && document < shard.num_documents()) {
    offset += static_cast<std::uint64_t>(builder.append(shard, document, offset));
    if (offset == shard.document_length(document)) {
      ++document;
      offset = 0;
    }
  }
  if (builder.missing() > 0) {
    builder.pad(shard.info().eos_id);
  } else if (cross_document && offset == 0 && document < shard.num_documents()) {
    // The row ended with its document, whose last token predicts the next one's first.
    std::int64_t next = 0;
    shard.read(shard.document_start(document), std::span(&next, 1));
    builder.set_last_target(next);
  }
}

}  // namespace

std::unique_ptr<HeldOutStream> HeldOutStream::open(const HeldOutConfig& config,
                                                   const ModelFit& fit) {
  GM_CHECK(!config.sources.empty(), kInvalidArgument,
           "sources: a held-out stream needs at least one source");
  GM_CHECK(config.row_tokens >= 2, kInvalidArgument, "row_tokens: must be at least 2, got ",
           config.row_tokens);
  GM_CHECK(config.max_rows >= 0, kInvalidArgument, "max_rows: must not be negative, got ",
           config.max_rows);
  return std::unique_ptr<HeldOutStream>(new HeldOutStream(config, fit));
}

HeldOutStream::HeldOutStream(const HeldOutConfig& config, const ModelFit& fit) : config_(config) {
  for (const ShardSource& source : config_.sources) {
    GM_CHECK(!source.path.empty(), kInvalidArgument, "sources: path is missing");
    shards_.push_back(TokenShard::open(find_shard(source.path, source.language)));
  }
  check_shards_fit(shards_, fit);
  identity_ = concat("held-out1:", config_.row_tokens, ":", config_.max_rows, ":",
                     cross_document() ? "cross" : "apart");
  first_rows_.push_back(0);
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    const std::string& given = config_.sources[i].name;
    const std::string name = given.empty() ? shards_[i].info().language : given;
    const auto found = std::find(names_.begin(), names_.end(), name);
    shard_names_.push_back(static_cast<std::int32_t>(found - names_.begin()));
    if (found == names_.end()) {
      names_.push_back(name);
    }
    const auto tokens = static_cast<std::int64_t>(shards_[i].num_tokens());
    // The last row may be short: every token of the shard is scored, once.
    std::int64_t rows = (tokens + config_.row_tokens - 1) / config_.row_tokens;
    if (config_.max_rows > 0) {
      rows = std::min(rows, config_.max_rows);
    }
    first_rows_.push_back(first_rows_.back() + rows);
    vocab_size_ = std::max(vocab_size_, shards_[i].info().vocab_size);
    identity_ += concat(";", name, ":", shards_[i].identity());
  }
}

Batch HeldOutStream::rows(std::int64_t first, std::int64_t count) {
  GM_CHECK(first >= 0 && count > 0 && first + count <= num_rows(), kInvalidArgument,
           "held-out rows ", first, " to ", first + count, " asked for, there are ", num_rows());
  RowBuilder builder(count, config_.row_tokens, cross_document());
  for (std::int64_t row = first; row < first + count; ++row) {
    // first_rows_ holds where each shard's rows begin: the last that is not behind the row is its
    // shard.
    const auto after = std::upper_bound(first_rows_.begin(), first_rows_.end(), row);
    const auto shard = static_cast<std::size_t>(after - first_rows_.begin()) - 1;
    builder.begin_row(shard_names_[shard]);
    fill_row(shards_[shard],
             static_cast<std::uint64_t>((row - first_rows_[shard]) * config_.row_tokens),
             cross_document(), builder);
  }
  return builder.finish();
}

}  // namespace growmerge::data
