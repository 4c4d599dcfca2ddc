#include "data/token_stream.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <utility>

#include "core/base/error.h"
#include "core/base/random.h"
#include "data/row_builder.h"
#include "data/shard_set.h"

namespace growmerge::data {

EpochOrder::EpochOrder(const TokenShard& shard, std::uint64_t seed, std::uint64_t stream)
    : shard_(&shard), seed_(seed), stream_(stream) {
  // The order itself is computed and never stored; of the starts every kStride-th is kept.
  const std::uint64_t count = shard.num_documents();
  starts_.reserve(count / kStride + 1);
  std::uint64_t token = 0;
  for (std::uint64_t place = 0; place < count; ++place) {
    if (place % kStride == 0) {
      starts_.push_back(token);
    }
    token += shard.document_length(document(place));
  }
}

std::uint64_t EpochOrder::document(std::uint64_t place) const {
  return permuted_index(place, shard_->num_documents(), seed_, stream_);
}

EpochOrder::Position EpochOrder::find(std::uint64_t token) const {
  GM_ASSERT(token < shard_->num_tokens());
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), token);
  // From the last known start at or before the token, a walk of fewer than kStride documents.
  const auto block = static_cast<std::uint64_t>(after - starts_.begin()) - 1;
  Position position{.place = block * kStride, .document = 0, .offset = token - starts_[block]};
  for (;; ++position.place) {
    position.document = document(position.place);
    const std::uint64_t length = shard_->document_length(position.document);
    if (position.offset < length) {
      return position;
    }
    position.offset -= length;
  }
}

std::unique_ptr<TokenStream> TokenStream::open(const MixtureConfig& config, const ModelFit& fit) {
  config.validate();
  return std::unique_ptr<TokenStream>(new TokenStream(config, fit));
}

TokenStream::TokenStream(const MixtureConfig& config, const ModelFit& fit) : config_(config) {
  std::vector<TokenShard> shards;
  for (const MixtureSource& source : config_.sources) {
    shards.push_back(TokenShard::open(find_shard(source.path, source.language)));
  }
  check_shards_fit(shards, fit);
  identity_ = concat("mixture1:", config_.seed, ":", config_.row_tokens, ":",
                     config_.cross_document ? "cross" : "apart");
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const MixtureSource& source = config_.sources[i];
    const std::string name = source.name.empty() ? shards[i].info().language : source.name;
    const auto found = std::find(names_.begin(), names_.end(), name);
    const auto index = static_cast<std::int32_t>(found - names_.begin());
    if (found == names_.end()) {
      names_.push_back(name);
    }
    vocab_size_ = std::max(vocab_size_, shards[i].info().vocab_size);
    // Weights by their bits: two that print alike may differ.
    identity_ +=
        concat(";", name, ":", source.weight ? "weight " : "epochs ", std::hex,
               std::bit_cast<std::uint64_t>(source.weight ? *source.weight : *source.epochs), ":",
               shards[i].identity());
    sources_.push_back({std::move(shards[i]), index, {}});
  }
  interleave_ = std::make_unique<Interleave>(plan_rows());
}

Interleave TokenStream::plan_rows() {
  const auto row_tokens = static_cast<double>(config_.row_tokens);
  std::vector<std::int64_t> rows(sources_.size(), 0);  // of the sources with epochs
  std::vector<double> shares(sources_.size(), 0.0);
  std::int64_t limited_rows = 0;
  double weights = 0.0;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const MixtureSource& source = config_.sources[i];
    if (source.weight) {
      shares[i] = *source.weight;
      weights += *source.weight;
      continue;
    }
    const auto tokens = static_cast<double>(sources_[i].shard.num_tokens());
    // Rounded down: a row more would begin another epoch.
    rows[i] = static_cast<std::int64_t>(*source.epochs * tokens / row_tokens);
    GM_CHECK(rows[i] > 0, kInvalidArgument, sources_[i].shard.path().string(), ": ", *source.epochs,
             " epochs of ", tokens, " tokens are less than one row of ", config_.row_tokens,
             ": take shorter rows or more data");
    limited_rows += rows[i];
  }
  if (limited_rows == 0) {
    return Interleave::from_shares(shares);
  }
  // Sources with epochs fill 1 - weights of the stream, and it ends with them. The small number is
  // for shares such as 0.1 whose quotient falls just below a whole one.
  num_rows_ = static_cast<std::int64_t>(
      std::floor(static_cast<double>(limited_rows) / (1.0 - weights) + 1e-9));
  if (weights == 0.0 && limited_rows <= Interleave::kLargestPeriod) {
    return Interleave(rows);  // exact: every source gets its rows and no more
  }
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (rows[i] > 0) {
      shares[i] =
          (1.0 - weights) * static_cast<double>(rows[i]) / static_cast<double>(limited_rows);
    }
  }
  return Interleave::from_shares(shares);
}

const EpochOrder& TokenStream::epoch_order(std::size_t source, std::int64_t epoch) {
  constexpr std::size_t kKeptEpochs = 3;
  Source& from = sources_[source];
  const auto found = from.epochs.find(epoch);
  if (found != from.epochs.end()) {
    return found->second;
  }
  if (from.epochs.size() >= kKeptEpochs) {
    // A stream moves forward: drop the oldest epoch, or the newest when it was set back.
    from.epochs.erase(from.epochs.begin()->first < epoch ? from.epochs.begin()
                                                         : std::prev(from.epochs.end()));
  }
  // By the source's place: a file that is named twice has two orders.
  const std::uint64_t stream = stream_id(concat("mixture source ", source, " epoch ", epoch));
  return from.epochs
      .try_emplace(epoch, from.shard, static_cast<std::uint64_t>(config_.seed), stream)
      .first->second;
}

void TokenStream::fill_row(std::size_t source, std::int64_t index, RowBuilder& builder) {
  const TokenShard& shard = sources_[source].shard;
  const auto epoch_tokens = static_cast<std::int64_t>(shard.num_tokens());
  // A source is one endless string of tokens, epoch behind epoch, cut into rows: which document
  // lies where is computed and never searched from the front.
  const std::int64_t position = index * config_.row_tokens;
  std::int64_t epoch = position / epoch_tokens;
  const EpochOrder* order = &epoch_order(source, epoch);
  EpochOrder::Position at = order->find(static_cast<std::uint64_t>(position % epoch_tokens));
  builder.begin_row(sources_[source].name);
  const auto advance = [&] {  // to the next document, perhaps of the next epoch
    ++at.place;
    if (at.place == shard.num_documents()) {
      order = &epoch_order(source, ++epoch);
      at.place = 0;
    }
    at.document = order->document(at.place);
    at.offset = 0;
  };
  bool ended = false;
  while (builder.missing() > 0) {
    at.offset += static_cast<std::uint64_t>(builder.append(shard, at.document, at.offset));
    ended = at.offset == shard.document_length(at.document);
    if (ended) {
      advance();
    }
  }
  // The row ended with a document: its last target is the next one's first token, which may be of
  // the next epoch.
  if (config_.cross_document && ended) {
    std::int64_t next = 0;
    shard.read(shard.document_start(at.document), std::span(&next, 1));
    builder.set_last_target(next);
  }
}

Batch TokenStream::rows(std::int64_t first, std::int64_t count) {
  GM_CHECK(first >= 0 && count > 0, kInvalidArgument, "rows ", first, " to ", first + count,
           " of the stream asked for");
  GM_CHECK(num_rows_ < 0 || first + count <= num_rows_, kInvalidArgument, "rows ", first, " to ",
           first + count, " asked for, but the epochs of the mixture end after ", num_rows_,
           " rows of ", config_.row_tokens,
           " tokens: raise sources.*.epochs, add text, use weights (which never end), or train "
           "fewer steps");
  RowBuilder builder(count, config_.row_tokens, config_.cross_document);
  for (std::int64_t row = first; row < first + count; ++row) {
    const Interleave::Place place = interleave_->at(row);
    fill_row(static_cast<std::size_t>(place.source), place.index, builder);
  }
  return builder.finish();
}

std::vector<SourceUse> TokenStream::use(std::int64_t rows) const {
  std::vector<SourceUse> uses;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    SourceUse use;
    use.name = names_[static_cast<std::size_t>(sources_[i].name)];
    use.path = sources_[i].shard.path().string();
    use.rows = interleave_->count(static_cast<std::int32_t>(i), rows);
    use.tokens = use.rows * config_.row_tokens;
    use.epochs =
        static_cast<double>(use.tokens) / static_cast<double>(sources_[i].shard.num_tokens());
    uses.push_back(std::move(use));
  }
  return uses;
}

}  // namespace growmerge::data
