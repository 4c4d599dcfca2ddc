// Text to token ids and back, from a Hugging Face tokenizer.json; equal to the `tokenizers`
// package, id for id.
//
// Understood: BPE models (byte-level as GPT-2, SmolLM2, Llama 3, GPT-NeoX, cl100k, BLOOM, Falcon;
// SentencePiece-style with byte fallback as Llama 2, Phi-3) and Unigram models (T5, mT5, XLM-R),
// with the normalizers, pre-tokenizers, added tokens, post-processors and decoders that
// docs/formats/tokenizer.md lists. A part that is not understood is refused by name (kUnsupported).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace growmerge {

/// A token, and the bytes begin..end of the text that it stands for. Either may lie inside a
/// character; what encoding put in (a space in front, BOS) stands for none.
struct TokenSpan {
  std::int32_t id = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// kByte: one byte of a character that the vocabulary lacks. kAdded: an added token.
enum class TokenKind { kText, kByte, kUnknown, kAdded };

class Tokenizer {
 public:
  /// Reads DIR/tokenizer.json or the file itself. Errors: kNotFound, kCorrupt, kUnsupported. A
  /// directory with only tokenizer.model is refused with what to do.
  [[nodiscard]] static Tokenizer load(const std::filesystem::path& path);
  [[nodiscard]] static Tokenizer parse(const std::string& json_text, const std::string& name);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of valid UTF-8 text; with add_special, what the post-processor adds (BOS, ...).
  /// Thread-safe. Errors: kCorrupt naming the byte offset of invalid UTF-8.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text, bool add_special) const;
  /// The same ids, with what each stands for. Slow. Where a normalizer makes one character of
  /// several (or several of one), all of them are what its tokens stand for. Text: below 2^32
  /// bytes.
  [[nodiscard]] std::vector<TokenSpan> encode_spans(std::string_view text, bool add_special) const;
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;
  /// The id of a token's exact content ("<s>"), or nothing.
  [[nodiscard]] std::optional<std::int32_t> token_to_id(std::string_view token) const;
  [[nodiscard]] std::string id_to_token(std::int32_t id) const;
  [[nodiscard]] TokenKind kind(std::int32_t id) const;
  /// Largest id + 1, added tokens included.
  [[nodiscard]] std::int64_t vocab_size() const;
  /// XXH3-128 of the tokenizer.json text.
  [[nodiscard]] const std::string& hash() const;

 private:
  Tokenizer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace growmerge
