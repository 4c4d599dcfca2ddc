// Shards with visible contents for the tests of this room.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "data/token_shard.h"

namespace growmerge::data {

inline TokenShardInfo test_info(std::int64_t vocab_size, const std::string& language = "en") {
  TokenShardInfo info;
  info.language = language;
  info.sources = "made by a test";
  info.tokenizer_hash = "abc123";
  info.vocab_size = vocab_size;
  info.eos_id = 0;
  return info;
}

inline void write_documents(const std::filesystem::path& path, const TokenShardInfo& info,
                            const std::vector<std::vector<std::int32_t>>& documents) {
  TokenShardWriter writer(path, info);
  for (const auto& document : documents) {
    writer.add(document, static_cast<std::uint32_t>(2 * document.size()),
               static_cast<std::uint32_t>(document.size()));
  }
  (void)writer.finish();
}

/// Documents whose tokens count on through the whole shard (token = position + 1), ended by EOS 0;
/// lengths, EOS included, from 1 to `longest`.
inline std::vector<std::vector<std::int32_t>> counting_documents(std::size_t count, int longest,
                                                                 std::uint64_t seed) {
  const Philox random(seed, stream_id("test documents"));
  std::vector<std::vector<std::int32_t>> documents(count);
  std::int32_t token = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto length = random.below(i, static_cast<std::uint64_t>(longest));
    for (std::uint64_t j = 0; j < length; ++j) {
      documents[i].push_back(++token);
    }
    ++token;
    documents[i].push_back(0);
  }
  return documents;
}

}  // namespace growmerge::data
