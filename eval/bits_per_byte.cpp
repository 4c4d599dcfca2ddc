#include "eval/bits_per_byte.h"

#include <cmath>
#include <numbers>
#include <string_view>

#include "core/base/error.h"
#include "eval/encode.h"
#include "eval/pair_rules.h"
#include "eval/request_set.h"

namespace growmerge::eval {
namespace {

double per(double nll, std::int64_t count) { return nll / static_cast<double>(count); }

}  // namespace

EncodedTexts encode_documents(const std::vector<Document>& documents, const Tokenizer& tokenizer,
                              Communicator& comm) {
  std::vector<std::string_view> texts;
  texts.reserve(documents.size());
  for (const Document& document : documents) {
    texts.emplace_back(document.text);
  }
  return encode_all(
      tokenizer, texts,
      [&](std::int64_t i) {
        return "document '" + documents[static_cast<std::size_t>(i)].id + "'";
      },
      comm);
}

std::vector<TextRecord> score_documents(const Model& model, const std::vector<Document>& documents,
                                        const EncodedTexts& encoded, const TextRules& rules,
                                        const ScorerOptions& options, Communicator& comm) {
  GM_ASSERT(encoded.size() == documents.size());
  const std::optional<std::int32_t> prefix = prefix_token(model.config, rules.prefix);
  GM_CHECK(prefix.has_value(), kInvalidArgument,
           "bits per byte: prefix 'none' would leave each document's first token unscored; use "
           "auto, bos or eos");
  const std::int64_t context =
      rules.context == 0 ? model.config.max_position_embeddings : rules.context;
  GM_CHECK(context >= 1, kInvalidArgument, "bits per byte: context is ", context,
           ", expected at least 1 token");

  RequestSet set(context, rules.prefix_each_window ? *prefix : -1);
  std::vector<TextRecord> records;
  records.reserve(documents.size());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const std::string& text = documents[i].text;
    std::vector<std::int32_t> tokens = {*prefix};
    tokens.insert(tokens.end(), encoded[i].begin(), encoded[i].end());
    records.push_back({.id = documents[i].id,
                       .nll = 0.0,
                       .tokens = static_cast<std::int64_t>(encoded[i].size()),
                       .characters = count_characters(text),
                       .words = count_words(text),
                       .bytes = static_cast<std::int64_t>(text.size()),
                       .windows = set.add(tokens, 1)});
  }
  const std::vector<double> sums = set.combine(score_sums(
      model, set.requests(),
      [&](std::int64_t request) {
        return "document '" + documents[static_cast<std::size_t>(set.sequence_of(request))].id +
               "'";
      },
      options, comm));
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].nll = 0.0 - sums[i];  // 0 stays +0
  }
  return records;
}

double TextTotals::bits_per_byte() const { return per(nll, bytes) / std::numbers::ln2; }
double TextTotals::token_perplexity() const { return std::exp(per(nll, tokens)); }
double TextTotals::word_perplexity() const { return std::exp(per(nll, words)); }
double TextTotals::byte_perplexity() const { return std::exp(per(nll, bytes)); }

TextTotals total(const std::vector<TextRecord>& records) {
  TextTotals totals;
  for (const TextRecord& record : records) {
    totals.nll += record.nll;
    totals.tokens += record.tokens;
    totals.characters += record.characters;
    totals.words += record.words;
    totals.bytes += record.bytes;
  }
  return totals;
}

}  // namespace growmerge::eval
