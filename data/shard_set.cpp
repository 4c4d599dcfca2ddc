#include "data/shard_set.h"

#include "core/base/error.h"

namespace growmerge::data {

void check_shards_fit(std::span<const TokenShard> shards, const ModelFit& fit) {
  for (const TokenShard& shard : shards) {
    const TokenShardInfo& info = shard.info();
    GM_CHECK(info.tokenizer_hash == shards[0].info().tokenizer_hash, kMismatch,
             shard.path().string(), ": made with tokenizer ", info.tokenizer_hash, ", but ",
             shards[0].path().string(), " with ", shards[0].info().tokenizer_hash,
             ": tokenize both with the same tokenizer.json");
    // A model may have more rows than the tokenizer has tokens (padding), never fewer.
    GM_CHECK(fit.vocab_size == 0 || info.vocab_size <= fit.vocab_size, kMismatch,
             shard.path().string(), ": vocabulary of ", info.vocab_size,
             " tokens, but the model has ", fit.vocab_size,
             ": tokenize with the model's own tokenizer.json");
    GM_CHECK(fit.tokenizer_hash.empty() || info.tokenizer_hash == fit.tokenizer_hash, kMismatch,
             shard.path().string(), ": made with tokenizer ", info.tokenizer_hash,
             ", but the model's tokenizer.json is ", fit.tokenizer_hash,
             ": tokenize with the model's own tokenizer.json");
  }
}

}  // namespace growmerge::data
