#include "data/row_builder.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "core/base/error.h"

namespace growmerge::data {

RowBuilder::RowBuilder(std::int64_t num_rows, std::int64_t row_tokens, bool cross_document)
    : cross_document_(cross_document) {
  batch_.num_rows = num_rows;
  batch_.row_tokens = row_tokens;
  batch_.tokens = at::empty({num_rows * row_tokens}, at::kLong);
  batch_.targets = at::empty({num_rows * row_tokens}, at::kLong);
  tokens_ = batch_.tokens.data_ptr<std::int64_t>();
  targets_ = batch_.targets.data_ptr<std::int64_t>();
}

void RowBuilder::begin_row(std::int32_t source) {
  GM_ASSERT(missing() == 0 && row_end_ < batch_.num_positions());
  batch_.row_sources.push_back(source);
  row_begin_ = at_;
  row_end_ = at_ + batch_.row_tokens;
}

std::int64_t RowBuilder::append(const TokenShard& shard, std::uint64_t document,
                                std::uint64_t first) {
  const auto left = static_cast<std::int64_t>(shard.document_length(document) - first);
  const std::int64_t taken = std::min(left, missing());
  GM_ASSERT(missing() > 0);
  // Opening checked all offsets, but they are mapped.
  GM_CHECK(taken > 0, kCorrupt, shard.path().string(), ": document ", document,
           " ends before it begins: the file was changed while it was read");
  // Documents are apart in attention where each begins a segment; otherwise the row is one.
  if (!cross_document_ || at_ == row_begin_) {
    batch_.segment_starts.push_back(static_cast<std::int32_t>(at_));
  }
  // One token more than fits is the target of the last one, where the document goes on.
  window_.resize(static_cast<std::size_t>(std::min(left, taken + 1)));
  shard.read(shard.document_start(document) + first, window_);
  // The document before ended in this row: its last token predicts this first one.
  if (cross_document_ && at_ > row_begin_) {
    targets_[at_ - 1] = window_[0];
  }
  std::copy_n(window_.begin(), taken, tokens_ + at_);
  std::copy(window_.begin() + 1, window_.end(), targets_ + at_);
  at_ += taken;
  // An end of document predicts nothing, unless what follows is told.
  if (taken == left) {
    targets_[at_ - 1] = Batch::kIgnoredTarget;
  }
  return taken;
}

void RowBuilder::set_last_target(std::int64_t token) { targets_[at_ - 1] = token; }

void RowBuilder::pad(std::int64_t token) {
  // A segment of its own: padding must not see text, nor be seen.
  if (missing() > 0) {
    batch_.segment_starts.push_back(static_cast<std::int32_t>(at_));
    std::fill(tokens_ + at_, tokens_ + row_end_, token);
    std::fill(targets_ + at_, targets_ + row_end_, Batch::kIgnoredTarget);
    at_ = row_end_;
  }
}

Batch RowBuilder::finish() {
  GM_ASSERT(at_ == batch_.num_positions());
  batch_.segment_starts.push_back(static_cast<std::int32_t>(at_));
  return std::move(batch_);
}

}  // namespace growmerge::data
