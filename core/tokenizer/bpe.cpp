#include "core/tokenizer/bpe.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

constexpr std::string_view kSeparator = "\xE2\x96\x81";  // U+2581, SentencePiece's space
// Longer words are merged through a heap: n log n instead of n^2.
constexpr std::size_t kShortSymbols = 48;

}  // namespace

Bpe::Bpe(const BpeSpec& spec, bool byte_level, bool whole_text)
    : merges_(spec.merges.size()),
      byte_level_(byte_level),
      byte_fallback_(spec.byte_fallback),
      fuse_unk_(spec.fuse_unk),
      ignore_merges_(spec.ignore_merges) {
  vocab_.reserve(spec.vocab.size());
  for (const auto& [token, id] : spec.vocab) {
    vocab_.emplace(token, id);
  }
  const auto id_of = [&](const std::string& token, std::size_t rank) {
    const auto it = vocab_.find(token);
    GM_CHECK(it != vocab_.end(), kCorrupt, "model merges: entry ", rank, ": token '", token,
             "' is not in the vocabulary");
    return it->second;
  };
  for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    const std::int32_t left_id = id_of(left, rank);
    const std::int32_t right_id = id_of(right, rank);
    // Ranks are places in the list: what training merged first is merged first.
    merges_.insert(left_id, right_id, {static_cast<std::int32_t>(rank), id_of(left + right, rank)});
  }
  if (!spec.unk_token.empty()) {
    const auto id = token_to_id(spec.unk_token);
    GM_CHECK(id.has_value(), kCorrupt, "model: unk_token '", spec.unk_token,
             "' is not in the vocabulary");
    unk_id_ = *id;
  }
  // Both alphabets are looked up once here, and never in the loops over a text.
  for (std::size_t b = 0; b < 256; ++b) {
    byte_ids_[b] = token_to_id(alphabet_.character(static_cast<unsigned char>(b))).value_or(-1);
  }
  fallback_ids_ = byte_token_ids(vocab_);
  // With ignore_merges a whole word may be one token, so a cut could change what is found.
  if (whole_text && !ignore_merges_) {
    find_separator();
  }
}

/// Texts that no pre-tokenizer cuts are one word; cutting them before each separator gives the same
/// merges when no token holds a separator behind another character, and lets the cache do its work.
void Bpe::find_separator() {
  if (!vocab_.contains(kSeparator)) {
    return;  // an unknown separator could be fused with its neighbours
  }
  can_cut_ = std::all_of(vocab_.begin(), vocab_.end(), [](const auto& entry) {
    const std::string& token = entry.first;
    for (std::size_t at = 0; (at = token.find(kSeparator, at)) != std::string::npos; at += 3) {
      if (at != 0 && (at < 3 || token.compare(at - 3, 3, kSeparator) != 0)) {
        return false;
      }
    }
    return true;
  });
}

std::optional<std::int32_t> Bpe::token_to_id(std::string_view token) const {
  const auto it = vocab_.find(token);
  return it == vocab_.end() ? std::nullopt : std::optional<std::int32_t>(it->second);
}

void Bpe::encode(std::string_view word, EncodeState& state, std::vector<std::int32_t>& out) const {
  if (!can_cut_) {
    encode_cached(word, state, out);
    return;
  }
  std::size_t begin = 0;
  std::size_t at = 0;
  // A word begins with its separators, as SentencePiece spells it.
  while ((at = word.find(kSeparator, at)) != std::string_view::npos) {
    if (at > begin) {
      encode_cached(word.substr(begin, at - begin), state, out);
      begin = at;
    }
    do {  // a run of separators stays together
      at += kSeparator.size();
    } while (word.compare(at, kSeparator.size(), kSeparator) == 0);
  }
  encode_cached(word.substr(begin), state, out);
}

void Bpe::encode_cached(std::string_view word, EncodeState& state,
                        std::vector<std::int32_t>& out) const {
  encode_through_cache(word, state.cache, out,
                       [&](std::string_view w) { encode_new(w, state, out); });
}

bool Bpe::add_byte_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const {
  symbols.resize(word.size());
  // One minimum instead of a branch a byte, so that the loop stays free of jumps.
  std::int32_t smallest = 0;
  for (std::size_t i = 0; i < word.size(); ++i) {
    symbols[i] = byte_ids_[static_cast<unsigned char>(word[i])];
    smallest = std::min(smallest, symbols[i]);
  }
  return smallest >= 0;
}

void Bpe::add_character_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const {
  // An unknown character waits for its successor, because with fuse_unk a run of them becomes one
  // token.
  bool unk_waits = false;
  const auto flush_unk = [&] {
    if (unk_waits) {
      symbols.push_back(unk_id_);
      unk_waits = false;
    }
  };
  for (std::size_t i = 0; i < word.size();) {
    const std::size_t length = utf8_length(word[i]);
    const std::string_view character = word.substr(i, length);
    i += length;
    if (const auto it = vocab_.find(character); it != vocab_.end()) {
      flush_unk();
      symbols.push_back(it->second);
      continue;
    }
    const auto fallback = [this](char b) { return fallback_ids_[static_cast<unsigned char>(b)]; };
    if (byte_fallback_ &&
        std::all_of(character.begin(), character.end(), [&](char b) { return fallback(b) >= 0; })) {
      // As in the package, an unknown character that waits stays behind these bytes.
      for (const char b : character) {
        symbols.push_back(fallback(b));
      }
      continue;
    }
    if (unk_id_ >= 0) {  // else the character is lost, as in the package
      if (!fuse_unk_) {
        flush_unk();
      }
      unk_waits = true;
    }
  }
  flush_unk();
}

void Bpe::encode_new(std::string_view word, EncodeState& state,
                     std::vector<std::int32_t>& out) const {
  const bool bytes_known = byte_level_ && add_byte_symbols(word, state.symbols);
  std::string spelled;
  // Spelled in GPT-2's alphabet only where the vocabulary must be asked by text: ids of single
  // bytes are known.
  if (byte_level_ && (ignore_merges_ || !bytes_known)) {
    spelled = alphabet_.encode(word);
  }
  const std::string_view characters = spelled.empty() ? word : std::string_view(spelled);
  if (ignore_merges_) {
    if (const auto id = token_to_id(characters)) {
      out.push_back(*id);
      return;
    }
  }
  if (!bytes_known) {
    state.symbols.clear();
    add_character_symbols(characters, state.symbols);
  }
  if (state.symbols.size() <= kShortSymbols) {
    merge_short(state, out);
  } else {
    merge_long(state, out);
  }
}

/// Quadratic in the word's length, but over a few neighbouring numbers that stay in the first
/// cache.
void Bpe::merge_short(EncodeState& state, std::vector<std::int32_t>& out) const {
  std::vector<std::int32_t>& ids = state.symbols;
  std::vector<Merge>& merges = state.merges;  // merges[i] is that of ids[i] and ids[i + 1]
  merges.clear();
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    merges.push_back(merges_.find(ids[i], ids[i + 1]));
  }
  while (!merges.empty()) {
    // The first of the lowest rank: the leftmost, as the definition says.
    const auto best =
        std::min_element(merges.begin(), merges.end(),
                         [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->rank == Merge::kNone) {
      break;
    }
    const auto i = static_cast<std::size_t>(best - merges.begin());
    ids[i] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    merges.erase(best);
    // Only the two neighbours of what was merged have new partners.
    if (i < merges.size()) {
      merges[i] = merges_.find(ids[i], ids[i + 1]);
    }
    if (i > 0) {
      merges[i - 1] = merges_.find(ids[i - 1], ids[i]);
    }
  }
  out.insert(out.end(), ids.begin(), ids.end());
}

/// A heap of possible merges over a doubly linked list of symbols. An entry is not taken out when
/// one of its two symbols is merged: it is looked at again when its turn comes.
void Bpe::merge_long(EncodeState& state, std::vector<std::int32_t>& out) const {
  std::vector<std::int32_t>& ids = state.symbols;  // -1: merged away
  std::vector<std::int32_t>& next = state.next;
  std::vector<std::int32_t>& previous = state.previous;
  auto& heap = state.heap;
  const auto n = static_cast<std::int32_t>(ids.size());
  next.resize(ids.size());
  previous.resize(ids.size());
  heap.clear();
  const auto later = [](const EncodeState::Candidate& a, const EncodeState::Candidate& b) {
    // The heap's front is the greatest, so "less" means later: higher rank, then further right.
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  };
  const auto at = [](std::int32_t i) { return static_cast<std::size_t>(i); };
  const auto consider = [&](std::int32_t left) {
    if (left < 0 || next[at(left)] >= n) {
      return;
    }
    const Merge merge = merges_.find(ids[at(left)], ids[at(next[at(left)])]);
    if (merge.rank != Merge::kNone) {
      heap.push_back({merge.rank, left, merge.id});
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (std::int32_t i = 0; i < n; ++i) {
    next[at(i)] = i + 1;
    previous[at(i)] = i - 1;
  }
  for (std::int32_t i = 0; i < n; ++i) {
    consider(i);
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const EncodeState::Candidate c = heap.back();
    heap.pop_back();
    if (ids[at(c.left)] < 0 || next[at(c.left)] >= n) {
      continue;
    }
    const std::int32_t right = next[at(c.left)];
    const Merge now = merges_.find(ids[at(c.left)], ids[at(right)]);
    if (now.rank == Merge::kNone || now.id != c.id) {
      continue;  // one of the two was merged meanwhile
    }
    ids[at(c.left)] = c.id;
    ids[at(right)] = -1;
    next[at(c.left)] = next[at(right)];
    if (next[at(right)] < n) {
      previous[at(next[at(right)])] = c.left;
    }
    consider(previous[at(c.left)]);
    consider(c.left);
  }
  for (std::int32_t i = 0; i < n; i = next[at(i)]) {
    out.push_back(ids[at(i)]);
  }
}

}  // namespace growmerge::tok
