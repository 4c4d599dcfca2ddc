#include "core/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

bool ends_with_word(std::string_view text) {
  std::size_t length = 0;
  return !text.empty() &&
         char_info(decode_utf8(text.data() + previous_character(text, text.size()), &length))
             .word();
}

bool starts_with_word(std::string_view text) {
  std::size_t length = 0;
  return !text.empty() && char_info(decode_utf8(text.data(), &length)).word();
}

/// Where the white space at the end of `text` starts.
std::size_t trailing_space(std::string_view text) {
  std::size_t end = text.size();
  std::size_t length = 0;
  while (end > 0) {
    const std::size_t last = previous_character(text, end);
    if (!char_info(decode_utf8(text.data() + last, &length)).white_space()) {
      break;
    }
    end = last;
  }
  return end;
}

/// Bytes of the white space that `text` starts with.
std::size_t leading_space(std::string_view text) {
  std::size_t at = 0;
  std::size_t length = 0;
  while (at < text.size() && char_info(decode_utf8(text.data() + at, &length)).white_space()) {
    at += length;
  }
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedTokenSpec> tokens,
                                     const std::vector<std::string>& texts)
    : tokens_(std::move(tokens)), nodes_(1) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (texts[i].empty()) {
      continue;  // a normalizer left nothing to find
    }
    // Most bytes of a text begin no added token: one look-up passes them by.
    first_[static_cast<unsigned char>(texts[i][0])] = true;
    std::size_t node = 0;
    for (const char c : texts[i]) {
      const auto byte = static_cast<unsigned char>(c);
      // A node has few children, so they lie in a short list and are searched through.
      const auto& next = nodes_[node].next;
      const auto it =
          std::find_if(next.begin(), next.end(), [&](const auto& e) { return e.first == byte; });
      if (it != next.end()) {
        node = static_cast<std::size_t>(it->second);
        continue;
      }
      nodes_[node].next.emplace_back(byte, static_cast<std::int32_t>(nodes_.size()));
      node = nodes_.size();
      nodes_.emplace_back();
    }
    // Where normalizing made two tokens equal, the first one counts.
    if (nodes_[node].token < 0) {
      nodes_[node].token = static_cast<std::int32_t>(i);
    }
  }
}

std::int32_t AddedTokenMatcher::longest_at(std::string_view text, std::size_t at,
                                           std::size_t* length) const {
  std::int32_t best = -1;
  std::size_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto& next = nodes_[node].next;
    const auto it =
        std::find_if(next.begin(), next.end(), [&](const auto& e) { return e.first == byte; });
    if (it == next.end()) {
      break;
    }
    node = static_cast<std::size_t>(it->second);
    // Goes on behind a match: the longest token counts, as in the package.
    if (nodes_[node].token >= 0) {
      best = nodes_[node].token;
      *length = i + 1 - at;
    }
  }
  return best;
}

void AddedTokenMatcher::split(std::string_view text,
                              const std::function<void(const Piece&)>& fn) const {
  std::size_t done = 0;
  std::size_t at = 0;
  while (at < text.size() && !tokens_.empty()) {
    if (!first_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    std::size_t length = 0;
    const std::int32_t index = longest_at(text, at, &length);
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedTokenSpec& token = tokens_[static_cast<std::size_t>(index)];
    std::size_t begin = at;
    std::size_t end = at + length;
    at = end;  // the search goes on behind the match, whether it counts or not
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) {
      // White space that an earlier token took is not given twice.
      begin = std::max(trailing_space(text.substr(0, begin)), done);
    }
    if (token.rstrip) {
      end += leading_space(text.substr(end));
    }
    if (done < begin) {
      fn({text.substr(done, begin - done), -1});
    }
    fn({text.substr(std::min(begin, end), end - std::min(begin, end)), token.id});
    done = end;
  }
  if (done < text.size()) {
    fn({text.substr(done), -1});
  }
}

}  // namespace growmerge::tok
