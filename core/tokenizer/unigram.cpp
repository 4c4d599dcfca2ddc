#include "core/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/base/error.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the rarest piece, as in SentencePiece

std::vector<std::pair<std::string_view, std::int32_t>> numbered(const UnigramSpec& spec) {
  std::vector<std::pair<std::string_view, std::int32_t>> out;
  for (const auto& [piece, score] : spec.vocab) {
    out.emplace_back(piece, static_cast<std::int32_t>(out.size()));
  }
  return out;
}

}  // namespace

Unigram::Unigram(const UnigramSpec& spec)
    : trie_(numbered(spec)), byte_fallback_(spec.byte_fallback) {
  double smallest = std::numeric_limits<double>::infinity();
  for (const auto& [piece, score] : spec.vocab) {
    // Of equal pieces the last one counts.
    ids_.insert_or_assign(piece, static_cast<std::int32_t>(scores_.size()));
    scores_.push_back(score);
    smallest = std::min(smallest, score);
  }
  unk_score_ = smallest - kUnknownPenalty;
  if (spec.unk_id) {
    unk_id_ = *spec.unk_id;
  }
  fallback_ids_ = byte_token_ids(ids_);
}

std::optional<std::int32_t> Unigram::token_to_id(std::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? std::nullopt : std::optional<std::int32_t>(it->second);
}

void Unigram::encode(std::string_view word, EncodeState& state,
                     std::vector<std::int32_t>& out) const {
  encode_through_cache(word, state.cache, out,
                       [&](std::string_view w) { encode_new(w, state, out); });
}

/// path[i] becomes the best segmentation of the first i bytes, for every i at which a character
/// ends. One pass: each beginning hands its sum on to all the pieces that start there.
void Unigram::find_best_path(std::string_view word, std::vector<EncodeState::PathEnd>& path) const {
  path.assign(word.size() + 1, {});
  for (std::size_t begin = 0; begin < word.size();) {
    const double before = path[begin].score;
    const std::size_t character = utf8_length(word[begin]);
    bool whole_character = false;
    const auto offer = [&](std::size_t length, double score, std::int32_t id) {
      EncodeState::PathEnd& end = path[begin + length];
      const double sum = score + before;
      if (end.begin < 0 || sum > end.score) {
        end = {sum, static_cast<std::int32_t>(begin), id};
      }
    };
    trie_.for_each_prefix(word.substr(begin), [&](std::size_t length, std::int32_t id) {
      offer(length, scores_[static_cast<std::size_t>(id)], id);
      whole_character = whole_character || length == character;
    });
    if (!whole_character) {
      offer(character, unk_score_, unk_id_);
    }
    begin += character;
  }
}

void Unigram::add_unknown(std::string_view part, std::vector<std::int32_t>& out) const {
  if (const auto it = ids_.find(part); it != ids_.end()) {
    out.push_back(it->second);
    return;
  }
  const auto fallback = [this](char b) { return fallback_ids_[static_cast<unsigned char>(b)]; };
  if (byte_fallback_ &&
      std::all_of(part.begin(), part.end(), [&](char b) { return fallback(b) >= 0; })) {
    for (const char b : part) {
      out.push_back(fallback(b));
    }
    return;
  }
  out.push_back(unk_id_);
}

void Unigram::encode_new(std::string_view word, EncodeState& state,
                         std::vector<std::int32_t>& out) const {
  std::vector<EncodeState::PathEnd>& path = state.path;
  find_best_path(word, path);
  // From the end to the beginning; the pieces are then read in order.
  std::vector<std::int32_t>& ends = state.symbols;
  ends.clear();
  for (auto end = static_cast<std::int32_t>(word.size()); end > 0;
       end = path[static_cast<std::size_t>(end)].begin) {
    ends.push_back(end);
  }
  std::size_t unknown_begin = std::string_view::npos;
  const auto flush = [&](std::size_t end) {
    if (unknown_begin != std::string_view::npos) {
      add_unknown(word.substr(unknown_begin, end - unknown_begin), out);
      unknown_begin = std::string_view::npos;
    }
  };
  for (auto it = ends.rbegin(); it != ends.rend(); ++it) {
    const EncodeState::PathEnd& piece = path[static_cast<std::size_t>(*it)];
    const auto begin = static_cast<std::size_t>(piece.begin);
    if (piece.id == unk_id_) {
      GM_CHECK(unk_id_ >= 0, kUnsupported, "the vocabulary holds no piece for '",
               word.substr(begin, static_cast<std::size_t>(*it) - begin),
               "', and the tokenizer's model names no unknown token (unk_id)");
      unknown_begin = std::min(unknown_begin, begin);
      continue;
    }
    flush(begin);
    out.push_back(piece.id);
  }
  flush(word.size());
}

}  // namespace growmerge::tok
