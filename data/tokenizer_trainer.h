// Training a tokenizer: BPE over GPT-2's words, as a directory that growmerge, the `tokenizers`
// package and Transformers load alike (the work of `growmerge tokenizer`).
//
// Byte-level (the default): text is cut into words by GPT-2's pattern (digits one by one where
// asked), and words are bytes in GPT-2's alphabet. With byte_fallback, as in SentencePiece's BPE:
// text is cut before spaces, which become U+2581; words are characters, of which the rarest (beyond
// character_coverage) are spelled by the byte tokens <0x00> to <0xFF>. Merges are learned by
// data/bpe_trainer.h. Special tokens that stand in the text are no part of any word.
// Ids: BOS, EOS, other special tokens, byte tokens, the alphabet in the order of its characters,
// then merged tokens in the order in which they were learned. Every text is encoded with BOS in
// front, where there is one. The files are a function of the counts of words alone: any order of
// the same documents gives the same bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/document_reader.h"

namespace growmerge::data {

struct TokenizerTrainConfig {
  std::vector<TextInput> inputs;
  std::int64_t vocab_size = 32000;
  std::int64_t min_frequency = 2;
  std::optional<std::string> bos_token = "<|begin_of_text|>";
  std::string eos_token = "<|end_of_text|>";
  std::vector<std::string> special_tokens;
  bool split_digits = true;
  bool byte_fallback = false;
  double character_coverage = 0.9995;

  template <class V>
  void describe(V& v) {
    v("inputs", inputs, "", "text that the merges are learned from");
    v("vocab_size", vocab_size, "tokens", "size of the vocabulary, special tokens included");
    v("min_frequency", min_frequency, "", "pairs that are rarer are not merged");
    v("bos_token", bos_token, "", "token that starts every text; null: none");
    v("eos_token", eos_token, "", "token that ends a document");
    v("special_tokens", special_tokens, "", "further special tokens; in text they stay whole");
    v("split_digits", split_digits, "", "every digit is a token of its own");
    v("byte_fallback", byte_fallback, "",
      "tokens are made of characters, and bytes stand for rare ones; else of bytes throughout");
    v("character_coverage", character_coverage, "share",
      "part of the text's characters that get a token, with byte_fallback");
  }
  /// Errors: kInvalidArgument naming the field.
  void validate() const;
};

struct TokenizerTrainSummary {
  std::int64_t documents = 0;
  std::int64_t bytes = 0;
  std::int64_t words = 0;  // distinct ones
  std::int64_t vocab_size = 0;
  std::int64_t merges = 0;
};

/// Gives the next document's text; false at the end.
using TextSource = std::function<bool(std::string& text)>;

struct TrainedTokenizer {
  std::string tokenizer_json;
  std::string tokenizer_config_json;  // names BOS and EOS for Transformers
  TokenizerTrainSummary summary;
};

/// Learns from the texts of `source` (config.inputs is not read). Warns when there is not enough
/// text for vocab_size. Memory: the distinct words. Errors: kCorrupt for invalid UTF-8,
/// kInvalidArgument when there is no text.
[[nodiscard]] TrainedTokenizer train_tokenizer(const TokenizerTrainConfig& config,
                                               const TextSource& source);

/// Learns from config.inputs and writes tokenizer.json and tokenizer_config.json into `dir`, which
/// exists. Errors: those of reading, too.
TokenizerTrainSummary train_tokenizer(const TokenizerTrainConfig& config,
                                      const std::filesystem::path& dir);

}  // namespace growmerge::data
