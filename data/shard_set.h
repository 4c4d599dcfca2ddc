// Checks that shards fit each other and a model.
#pragma once

#include <span>

#include "data/mixture.h"
#include "data/token_shard.h"

namespace growmerge::data {

/// Errors: kMismatch naming the two shards, or the shard and what the model has.
void check_shards_fit(std::span<const TokenShard> shards, const ModelFit& fit);

}  // namespace growmerge::data
