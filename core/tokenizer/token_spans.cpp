#include "core/tokenizer/token_spans.h"

#include <algorithm>

#include "core/tokenizer/byte_alphabet.h"
#include "core/tokenizer/token_map.h"
#include "core/tokenizer/unicode.h"

namespace growmerge::tok {
namespace {

TracedText in_alphabet(const TracedText& word) {
  static const ByteAlphabet alphabet;
  TracedText out;
  TracingWriter writer(word, out);
  for (std::size_t i = 0; i < word.text.size(); ++i) {
    writer.put(alphabet.character(static_cast<unsigned char>(word.text[i])), i, i + 1);
  }
  return out;
}

/// Lays tokens along a word, one after another.
class Ruler {
 public:
  Ruler(const std::string& text, const std::vector<std::string>& tokens)
      : text_(text), tokens_(tokens) {}

  /// Where the token lies, the next one behind it being known.
  Span next(std::int32_t id, std::int32_t next_id, std::int32_t unknown_id) {
    std::size_t end = at_;
    if (id == unknown_id) {
      // Several characters may have become one unknown token, and so does its own name where the
      // text spells it.
      do {
        end = lies_at(end, id) ? end + tokens_[static_cast<std::size_t>(id)].size()
                               : character_end(end);
      } while (end < text_.size() && next_id != unknown_id &&
               (lies_at(end, id) || !lies_at(end, next_id)));
    } else if (lies_at(at_, id)) {
      end = at_ + tokens_[static_cast<std::size_t>(id)].size();
    } else if (byte_of_token(tokens_[static_cast<std::size_t>(id)]) >= 0) {
      end = std::min(at_ + 1, text_.size());
    } else {
      // Characters that have no token, where there is no unknown one either, were left out.
      const std::string& token = tokens_[static_cast<std::size_t>(id)];
      const std::size_t found = text_.find(token, at_);
      at_ = found == std::string::npos ? at_ : found;
      end = std::min(at_ + token.size(), text_.size());
    }
    const Span span{static_cast<std::uint32_t>(at_), static_cast<std::uint32_t>(end)};
    at_ = end;
    return span;
  }

 private:
  [[nodiscard]] std::size_t character_end(std::size_t at) const {
    return at < text_.size() ? std::min(at + utf8_length(text_[at]), text_.size()) : text_.size();
  }
  [[nodiscard]] bool lies_at(std::size_t at, std::int32_t id) const {
    if (id < 0) {
      return false;
    }
    const std::string& token = tokens_[static_cast<std::size_t>(id)];
    return text_.compare(at, token.size(), token) == 0;
  }
  const std::string& text_;
  const std::vector<std::string>& tokens_;
  std::size_t at_ = 0;
};

}  // namespace

void append_spans(const TracedText& word, const std::vector<std::int32_t>& ids,
                  const std::vector<std::string>& tokens, bool byte_level, std::int32_t unknown_id,
                  std::uint32_t base, std::vector<TokenSpan>& out) {
  const TracedText spelled = byte_level ? in_alphabet(word) : word;
  Ruler ruler(spelled.text, tokens);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Span part = ruler.next(ids[i], i + 1 < ids.size() ? ids[i + 1] : -1, unknown_id);
    const Span origin = spelled.origin_of(part.begin, part.end);
    out.push_back({ids[i], base + origin.begin, base + origin.end});
  }
}

}  // namespace growmerge::tok
