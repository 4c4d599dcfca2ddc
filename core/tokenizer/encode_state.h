// What one thread needs to encode: the cache of words and space to work in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/merge_table.h"
#include "core/tokenizer/word_cache.h"

namespace growmerge::tok {

struct EncodeState {
  struct Candidate {
    std::int32_t rank;
    std::int32_t left;
    std::int32_t id;
  };
  /// The best segmentation of a word up to some byte, for Unigram.
  struct PathEnd {
    double score = 0.0;
    std::int32_t begin = -1;  // of its last piece, in bytes; -1: there is none
    std::int32_t id = 0;
  };
  WordCache cache;
  std::vector<std::int32_t> symbols;
  std::vector<Merge> merges;
  std::vector<std::int32_t> next;
  std::vector<std::int32_t> previous;
  std::vector<Candidate> heap;
  std::vector<PathEnd> path;
  std::string buffer;
};

/// Appends the ids of a word: from the cache, or by encode(word), which appends them, and into the
/// cache.
template <class Encode>
void encode_through_cache(std::string_view word, WordCache& cache, std::vector<std::int32_t>& out,
                          const Encode& encode) {
  if (word.empty()) {
    return;
  }
  // Longer than a place in the cache.
  if (word.size() > WordCache::kMaxBytes) {
    encode(word);
    return;
  }
  const WordCache::Key key = WordCache::make_key(word);
  const std::size_t before = out.size();
  if (const WordCache::Slot* slot = cache.find(key)) {
    out.resize(before + WordCache::kMaxIds);  // a copy of known length is cheaper
    std::copy(slot->ids.begin(), slot->ids.end(),
              out.begin() + static_cast<std::ptrdiff_t>(before));
    out.resize(before + slot->num_ids);
    return;
  }
  encode(word);
  if (out.size() - before <= WordCache::kMaxIds) {
    cache.insert(key, out.data() + before, out.size() - before);
  }
}

}  // namespace growmerge::tok
