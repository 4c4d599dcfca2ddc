#include "eval/bits_per_byte.h"

#include <charconv>
#include <cmath>
#include <numbers>
#include <string_view>

#include "core/base/error.h"
#include "core/base/white_space.h"
#include "eval/request_set.h"
#include "eval/scoring_rules.h"
#include "eval/statistics.h"

namespace growmerge::eval {
namespace {

double per(double nll, std::int64_t count) { return nll / static_cast<double>(count); }

}  // namespace

std::int64_t window_stride(const std::string& stride, std::int64_t context,
                           bool prefix_each_window) {
  const std::int64_t room = RequestSet::room_of(context, prefix_each_window);
  if (stride == "half") {
    return RequestSet::stride_of(context, prefix_each_window);
  }
  if (stride == "disjoint") {
    return room;
  }
  std::int64_t tokens = 0;
  const auto [end, error] = std::from_chars(stride.data(), stride.data() + stride.size(), tokens);
  GM_CHECK(error == std::errc() && end == stride.data() + stride.size() && tokens >= 1,
           kInvalidArgument, "stride is '", stride,
           "', expected half, disjoint or a number of tokens");
  GM_CHECK(tokens <= room, kInvalidArgument, "stride is ", tokens, ", a window holds ", room,
           " tokens: what lies between two windows would not be scored");
  return tokens;
}

std::vector<Item> text_items(std::vector<Document> documents) {
  std::vector<Item> items(documents.size());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    items[i].id = std::move(documents[i].id);
    items[i].choices.push_back(std::move(documents[i].text));
  }
  return items;
}

EncodedTexts encode_texts(const std::vector<Item>& documents, const Tokenizer& tokenizer,
                          Communicator& comm) {
  std::vector<std::string_view> texts;
  texts.reserve(documents.size());
  for (const Item& document : documents) {
    texts.emplace_back(document.choices[0]);
  }
  return encode_all(
      tokenizer, texts,
      [&](std::int64_t i) {
        return "document '" + documents[static_cast<std::size_t>(i)].id + "'";
      },
      comm);
}

std::vector<ItemRecord> score_texts(const Model& model, const std::vector<Item>& documents,
                                    const EncodedTexts& encoded, const TextRules& rules,
                                    const ScorerOptions& options, Communicator& comm) {
  GM_ASSERT(encoded.size() == documents.size());
  // The prefix predicts a document's first token and is never scored itself.
  const std::optional<std::int32_t> prefix = prefix_token(model.config, rules.prefix);
  GM_CHECK(prefix.has_value(), kInvalidArgument,
           "bits per byte: prefix 'none' would leave each document's first token unscored; use "
           "auto, bos or eos");
  const std::int64_t context =
      rules.context == 0 ? model.config.max_position_embeddings : rules.context;
  GM_CHECK(context >= 1, kInvalidArgument, "bits per byte: context is ", context,
           ", expected at least 1 token");

  RequestSet set(context, rules.prefix_each_window ? *prefix : -1,
                 window_stride(rules.stride, context, rules.prefix_each_window));
  std::vector<ItemRecord> records(documents.size());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const std::string& text = documents[i].choices[0];
    const std::vector<std::int32_t>& ids = encoded[i].ids;
    std::vector<std::int32_t> tokens = {*prefix};
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    ItemRecord& record = records[i];
    record.id = documents[i].id;
    // Lengths are of the text: neither the prefix nor windows that overlap count.
    record.tokens = {static_cast<std::int64_t>(ids.size())};
    record.characters = {count_characters(text)};
    record.bytes = {static_cast<std::int64_t>(text.size())};
    record.words = count_words(text);
    record.windows = set.add(tokens, 1);
    record.windowed = record.windows > 1;
    GM_CHECK(!record.windowed || rules.overlong != "error", kInvalidArgument, "document '",
             record.id, "' has ", ids.size(), " tokens, one window holds ", context,
             " (overlong is error): set max_characters, or overlong: windows");
  }
  // [documents] sums of log p over windows, nats.
  const std::vector<double> sums = set.combine(score_sums(
      model, set.requests(),
      [&](std::int64_t request) {
        return "document '" + documents[static_cast<std::size_t>(set.sequence_of(request))].id +
               "'";
      },
      options, comm));
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].log_prob = {sums[i]};
  }
  return records;
}

double TextTotals::bits_per_byte() const { return per(nll, bytes) / std::numbers::ln2; }
double TextTotals::token_perplexity() const { return std::exp(per(nll, tokens)); }
double TextTotals::word_perplexity() const { return std::exp(per(nll, words)); }
double TextTotals::byte_perplexity() const { return std::exp(per(nll, bytes)); }

TextTotals total(const std::vector<ItemRecord>& records) {
  TextTotals totals;
  for (const ItemRecord& record : records) {
    totals.nll += record.nll();
    totals.tokens += record.tokens[0];
    totals.characters += record.characters[0];
    totals.words += record.words;
    totals.bytes += record.bytes[0];
  }
  return totals;
}

TaskSummary summarise_texts(const TaskItems& items) {
  const TaskHeader& header = items.header;
  TaskSummary summary{header.name, static_cast<std::int64_t>(items.records.size()), {}, {}, {}};
  const TextTotals totals = total(items.records);
  GM_CHECK(totals.bytes > 0, kCorrupt, header.name, ": the documents hold no bytes at all");
  std::vector<double> bits;
  std::vector<double> bytes;
  for (const ItemRecord& item : items.records) {
    // An empty document has no ratio, and as a unit would only widen the interval.
    if (item.bytes[0] > 0) {
      bits.push_back(item.nll() / std::numbers::ln2);
      bytes.push_back(static_cast<double>(item.bytes[0]));
    }
  }
  const BootstrapResult bootstrap = bootstrap_ratio(bits, bytes, header.bootstrap);
  summary.metrics = {{"bits_per_byte", totals.bits_per_byte()},
                     {"bits_per_byte_stderr", bootstrap.standard_error},
                     {"bits_per_byte_ci_low", bootstrap.interval.low},
                     {"bits_per_byte_ci_high", bootstrap.interval.high},
                     {"token_perplexity", totals.token_perplexity()},
                     {"byte_perplexity", totals.byte_perplexity()}};
  // White space alone holds no word.
  if (totals.words > 0) {
    summary.metrics.emplace_back("word_perplexity", totals.word_perplexity());
  }
  summary.metrics.insert(summary.metrics.end(),
                         {{"nll", totals.nll},
                          {"tokens", static_cast<double>(totals.tokens)},
                          {"characters", static_cast<double>(totals.characters)},
                          {"words", static_cast<double>(totals.words)},
                          {"bytes", static_cast<double>(totals.bytes)}});
  if (header.empty_documents > 0) {
    summary.metrics.emplace_back("empty_documents", static_cast<double>(header.empty_documents));
  }
  return summary;
}

std::vector<Comparison> compare_texts(const TaskItems& a, const TaskItems& b,
                                      const BootstrapOptions& options) {
  Comparison row;
  row.task = a.header.name;
  row.language = a.header.language;
  row.metric = "bits_per_byte";
  row.num_items = static_cast<std::int64_t>(a.records.size());
  std::vector<double> differences;
  std::vector<double> bytes;
  double bits_a = 0.0;
  double bits_b = 0.0;
  double total = 0.0;
  for (std::size_t i = 0; i < a.records.size(); ++i) {
    if (a.records[i].bytes[0] == 0) {
      continue;
    }
    // Pooled as the score itself is: a long document weighs more.
    bits_a += a.records[i].nll() / std::numbers::ln2;
    bits_b += b.records[i].nll() / std::numbers::ln2;
    total += static_cast<double>(a.records[i].bytes[0]);
    differences.push_back((b.records[i].nll() - a.records[i].nll()) / std::numbers::ln2);
    bytes.push_back(static_cast<double>(a.records[i].bytes[0]));
  }
  GM_CHECK(total > 0.0, kCorrupt, row.task, ": the documents hold no bytes at all");
  row.a = bits_a / total;
  row.b = bits_b / total;
  row.conclude(bootstrap_ratio(differences, bytes, options), differences.size(), false);
  return {row};
}

}  // namespace growmerge::eval
