// Learning the merges of a byte-pair encoding from counted words.
//
// Source: Sennrich et al. 2016, arXiv:1508.07909. The most frequent pair of neighbours is merged
// everywhere, again and again; of equally frequent pairs the one with the smaller ids (left, then
// right). Pairs are counted as the `tokenizers` package counts them (overlapping: "aaa" holds two),
// so that both learn the same merges. A pair whose text is a token already, by other merges, gets a
// merge to that token and no new one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace growmerge::data {

struct CountedWord {
  std::vector<std::int32_t> symbols;
  std::int64_t count = 0;
};

struct LearnedMerges {
  std::vector<std::string> tokens;                            // text of every id
  std::vector<std::pair<std::int32_t, std::int32_t>> merges;  // in order of rank
};

/// `tokens` are the first tokens: `num_reserved` ones that no merge may spell (special tokens),
/// then the alphabet. Merges until there are `vocab_size` tokens or the best pair is rarer than
/// `min_frequency`. Deterministic, whatever the order of `words`. `progress` is called with the
/// number of tokens. Memory: about 12 bytes for each symbol of a word, and 40 for each distinct
/// pair.
[[nodiscard]] LearnedMerges learn_merges(std::vector<CountedWord> words,
                                         std::vector<std::string> tokens, std::size_t num_reserved,
                                         std::int64_t vocab_size, std::int64_t min_frequency,
                                         const std::function<void(std::int64_t)>& progress);

}  // namespace growmerge::data
