// Pre-tokenizers: cut a text into words, which the model then merges one by one.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/byte_alphabet.h"
#include "core/tokenizer/pattern.h"
#include "core/tokenizer/scanner.h"
#include "core/tokenizer/spec.h"
#include "core/tokenizer/traced_text.h"

namespace growmerge::tok {

class PreTokenizer {
 public:
  explicit PreTokenizer(const std::vector<PreTokenizerSpec>& specs);

  /// Calls fn(word) for every word of valid UTF-8 text, in order; words are never empty. `at_start`
  /// says that the text starts the document. Thread-safe.
  template <class Fn>
  void for_each_word(std::string_view text, bool at_start, const Fn& fn) const {
    if (scanner_) {
      for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = scanner_->word_end(text, begin);
        fn(text.substr(begin, end - begin));
        begin = end;
      }
    } else if (steps_.empty()) {
      if (!text.empty()) {
        fn(text);
      }
    } else {
      for (const Piece& piece : run_steps({std::string(text), {}}, at_start)) {
        fn(std::string_view(piece.text.text));
      }
    }
  }
  /// The same words, with where their bytes came from. Slow.
  [[nodiscard]] std::vector<TracedText> traced_words(const TracedText& text, bool at_start) const;

  /// Words are bytes that the model knows by GPT-2's alphabet: ByteLevel is the last step. Where
  /// other steps follow it, they see that alphabet's characters, and words are made of those.
  [[nodiscard]] bool byte_level() const { return byte_level_; }
  /// Whether it matters where a text starts its document.
  [[nodiscard]] bool asks_for_start() const { return asks_for_start_; }

 private:
  struct Piece {
    TracedText text;
    bool at_start = false;
  };
  struct Step {
    PreTokenizerSpec spec;
    std::optional<Pattern> pattern;
    bool spells = false;  // ByteLevel that is not the last step
  };
  [[nodiscard]] std::vector<Piece> run_steps(TracedText text, bool at_start) const;
  void run_step(const Step& step, Piece piece, std::vector<Piece>& out) const;

  std::optional<Scanner> scanner_;
  std::vector<Step> steps_;
  ByteAlphabet alphabet_;
  bool byte_level_ = false;
  bool asks_for_start_ = false;
};

}  // namespace growmerge::tok
