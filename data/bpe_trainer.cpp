#include "data/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

using Pair = std::uint64_t;  // left << 32 | right

Pair make_pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<Pair>(left) << 32 | static_cast<std::uint32_t>(right);
}
std::int32_t left_of(Pair pair) { return static_cast<std::int32_t>(pair >> 32); }
std::int32_t right_of(Pair pair) { return static_cast<std::int32_t>(pair & 0xFFFFFFFFU); }

/// A pair that may be merged next, and the words that may hold it.
struct Candidate {
  std::int64_t count;
  Pair pair;
  std::vector<std::uint32_t> words;
};

struct LessUrgent {
  // A priority queue gives its largest: the most frequent pair, of equals the one of smaller ids.
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.count != b.count ? a.count < b.count : a.pair > b.pair;
  }
};

class Learner {
 public:
  Learner(std::vector<CountedWord> words, std::vector<std::string> tokens, std::size_t num_reserved)
      : words_(std::move(words)), num_reserved_(static_cast<std::int32_t>(num_reserved)) {
    learned_.tokens = std::move(tokens);
    for (std::size_t i = 0; i < learned_.tokens.size(); ++i) {
      ids_.emplace(learned_.tokens[i], static_cast<std::int32_t>(i));
    }
    for (std::size_t w = 0; w < words_.size(); ++w) {
      const auto& symbols = words_[w].symbols;
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        change(make_pair_key(symbols[i], symbols[i + 1]), words_[w].count,
               static_cast<std::uint32_t>(w));
      }
    }
    push_grown();
  }

  LearnedMerges run(std::int64_t vocab_size, std::int64_t min_frequency,
                    const std::function<void(std::int64_t)>& progress) {
    while (static_cast<std::int64_t>(learned_.tokens.size()) < vocab_size && !queue_.empty()) {
      Candidate top = queue_.top();
      queue_.pop();
      const std::int64_t now = counts_[top.pair];
      // Counts that fell since the push are not searched for in the queue: an entry is made right
      // when it comes to the top.
      if (top.count != now) {
        top.count = now;
        if (now > 0) {
          queue_.push(std::move(top));
        }
        continue;
      }
      if (top.count < std::max<std::int64_t>(min_frequency, 1)) {
        break;
      }
      merge(top);
      progress(static_cast<std::int64_t>(learned_.tokens.size()));
    }
    return std::move(learned_);
  }

 private:
  /// Adds to a pair's count; where it grows, the word is remembered.
  void change(Pair pair, std::int64_t count, std::uint32_t word) {
    counts_[pair] += count;
    if (count > 0) {
      auto& list = grown_[pair];
      // A word's pairs come one behind another, so looking at the last entry finds repeats.
      if (list.empty() || list.back() != word) {
        list.push_back(word);
      }
    }
  }

  void push_grown() {
    for (auto& [pair, list] : grown_) {
      const std::int64_t count = counts_[pair];
      if (count > 0) {
        queue_.push({count, pair, std::move(list)});
      }
    }
    grown_.clear();
  }

  void merge(const Candidate& top) {
    const std::int32_t left = left_of(top.pair);
    const std::int32_t right = right_of(top.pair);
    const std::string text = learned_.tokens[static_cast<std::size_t>(left)] +
                             learned_.tokens[static_cast<std::size_t>(right)];
    const auto [it, is_new] = ids_.emplace(text, static_cast<std::int32_t>(learned_.tokens.size()));
    // Text that happened to spell a special token must never become it.
    if (it->second < num_reserved_) {
      return;
    }
    const std::int32_t id = it->second;
    if (is_new) {
      learned_.tokens.push_back(text);
    }
    // The same pair can come again when other merges make its parts anew; it has its merge.
    if (merged_.emplace(top.pair, id).second) {
      learned_.merges.emplace_back(left, right);
    }
    for (const std::uint32_t word : top.words) {
      merge_in_word(word, left, right, id);
    }
    push_grown();
  }

  void merge_in_word(std::uint32_t index, std::int32_t left, std::int32_t right, std::int32_t id) {
    CountedWord& word = words_[index];
    auto& symbols = word.symbols;
    // In place: symbols are read at i and kept at `kept`, which is never ahead of it.
    std::size_t kept = 0;
    for (std::size_t i = 0; i < symbols.size(); ++kept) {
      if (symbols[i] != left || i + 1 >= symbols.size() || symbols[i + 1] != right) {
        symbols[kept] = symbols[i++];
        continue;
      }
      // The neighbour before is a merged symbol already where two merges touch, which is why it is
      // read from what was kept.
      if (kept > 0) {
        change(make_pair_key(symbols[kept - 1], left), -word.count, index);
        change(make_pair_key(symbols[kept - 1], id), word.count, index);
      }
      i += 2;
      if (i < symbols.size()) {
        change(make_pair_key(right, symbols[i]), -word.count, index);
        change(make_pair_key(id, symbols[i]), word.count, index);
      }
      symbols[kept] = id;
    }
    symbols.resize(kept);
  }

  std::vector<CountedWord> words_;
  std::int32_t num_reserved_;
  LearnedMerges learned_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<Pair, std::int64_t> counts_;
  std::unordered_map<Pair, std::vector<std::uint32_t>> grown_;
  std::unordered_map<Pair, std::int32_t> merged_;
  std::priority_queue<Candidate, std::vector<Candidate>, LessUrgent> queue_;
};

}  // namespace

LearnedMerges learn_merges(std::vector<CountedWord> words, std::vector<std::string> tokens,
                           std::size_t num_reserved, std::int64_t vocab_size,
                           std::int64_t min_frequency,
                           const std::function<void(std::int64_t)>& progress) {
  GM_ASSERT(words.size() <= UINT32_MAX);
  return Learner(std::move(words), std::move(tokens), num_reserved)
      .run(vocab_size, min_frequency, progress);
}

}  // namespace growmerge::data
