// Bits per byte and perplexities of running text.
//
// Each document on its own: prefix (BOS, EOS where there is none) first and never scored, no EOS at
// the end, windows of the context length, half of it apart unless told otherwise, every token
// scored once.
//   bits_per_byte    = sum NLL / (ln 2 * sum UTF-8 bytes)
//   token_perplexity = exp(sum NLL / sum tokens), byte_perplexity and word_perplexity likewise
// Sums run over all documents (pooled), in document order, float64. Token perplexities compare only
// models of one tokenizer; bits per byte compare any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/contracts/communicator.h"
#include "core/model/checkpoint.h"
#include "core/tokenizer/tokenizer.h"
#include "eval/compare.h"
#include "eval/encode.h"
#include "eval/items.h"
#include "eval/results.h"
#include "eval/sequence_scorer.h"
#include "eval/task.h"

namespace growmerge::eval {

struct TextRules {
  std::string prefix = "auto";       // auto | bos | eos
  std::int64_t context = 0;          // inputs of one window; 0: the model's context length
  std::string stride = "half";       // see window_stride()
  std::string overlong = "windows";  // of documents longer than the context: windows | error
  bool prefix_each_window = false;  // whether windows after the first are opened by the prefix, too
};

/// How many inputs a window begins behind the one before it: "half" of those of text that a window
/// holds, "disjoint" (all of them: windows share nothing but the one token that the first
/// prediction needs, and the last one looks back as far as it can, as lm-evaluation-harness cuts),
/// or a number of tokens. Errors:
/// kInvalidArgument where it is none of these, or more than a window holds.
[[nodiscard]] std::int64_t window_stride(const std::string& stride, std::int64_t context,
                                         bool prefix_each_window);

/// The documents as items of one choice. Their texts are moved.
[[nodiscard]] std::vector<Item> text_items(std::vector<Document> documents);

/// Collective. Errors: kCorrupt naming the document whose text is not UTF-8.
[[nodiscard]] EncodedTexts encode_texts(const std::vector<Item>& documents,
                                        const Tokenizer& tokenizer, Communicator& comm);

/// One record per document, in order, the same on every rank. Collective. Errors: kCorrupt naming
/// the document whose score is not finite; kInvalidArgument (no prefix token, context < 1, a
/// document longer than the context where overlong is error).
[[nodiscard]] std::vector<ItemRecord> score_texts(const Model& model,
                                                  const std::vector<Item>& documents,
                                                  const EncodedTexts& encoded,
                                                  const TextRules& rules,
                                                  const ScorerOptions& options, Communicator& comm);

/// Sums over documents and what follows from them.
struct TextTotals {
  double nll = 0.0;  // nats
  std::int64_t tokens = 0;
  std::int64_t characters = 0;
  std::int64_t words = 0;
  std::int64_t bytes = 0;

  [[nodiscard]] double bits_per_byte() const;
  [[nodiscard]] double token_perplexity() const;
  [[nodiscard]] double word_perplexity() const;
  [[nodiscard]] double byte_perplexity() const;
};
[[nodiscard]] TextTotals total(const std::vector<ItemRecord>& records);

/// All figures of TaskSummary that are of texts. Errors: kCorrupt when the documents hold no bytes.
[[nodiscard]] TaskSummary summarise_texts(const TaskItems& items);
/// One row: the whole task.
[[nodiscard]] std::vector<Comparison> compare_texts(const TaskItems& a, const TaskItems& b,
                                                    const BootstrapOptions& options);

}  // namespace growmerge::eval
