#include "eval/pair_scorer.h"

#include <string_view>

#include "core/base/error.h"
#include "eval/encode.h"
#include "eval/request_set.h"

namespace growmerge::eval {
namespace {

std::string choice_name(const PairTask& task, std::int64_t text) {
  return concat(task.name, ": item '", task.items[static_cast<std::size_t>(text / 2)].id, "', ",
                text % 2 == 0 ? "good" : "bad", " sentence");
}

}  // namespace

EncodedPairs encode_pairs(const PairTask& task, const std::string& delimiter,
                          const Tokenizer& tokenizer, Communicator& comm) {
  std::vector<std::string> delimited;
  std::vector<std::string_view> texts;
  delimited.reserve(delimiter.empty() ? 0 : 2 * task.items.size());
  for (const PairItem& item : task.items) {
    for (const std::string* sentence : {&item.good, &item.bad}) {
      if (delimiter.empty()) {
        texts.emplace_back(*sentence);
      } else {
        texts.emplace_back(delimited.emplace_back(delimiter + *sentence));
      }
    }
  }
  return encode_all(
      tokenizer, texts, [&](std::int64_t text) { return choice_name(task, text); }, comm);
}

std::vector<PairRecord> score_pairs(const Model& model, const PairTask& task,
                                    const EncodedPairs& encoded, const PairRules& rules,
                                    std::int64_t context, const ScorerOptions& options,
                                    Communicator& comm) {
  rules.validate();
  GM_ASSERT(encoded.size() == 2 * task.items.size());
  const std::optional<std::int32_t> prefix = prefix_token(model.config, rules.prefix);

  RequestSet set(context);
  std::vector<PairRecord> records(task.items.size());
  std::vector<std::int32_t> tokens;
  for (std::size_t text = 0; text < encoded.size(); ++text) {
    const std::vector<std::int32_t>& ids = encoded[text];
    tokens.clear();
    if (prefix && (ids.empty() || ids.front() != *prefix)) {
      tokens.push_back(*prefix);
    }
    // Behind a prefix the first token of the sentence could be scored; "free" leaves it out.
    const bool free = rules.first_token == "free" && prefix.has_value();
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    const std::int64_t first_scored = free ? 2 : 1;
    const auto length = static_cast<std::int64_t>(tokens.size());
    GM_CHECK(length - 1 <= context || rules.overlong == "windows", kInvalidArgument,
             choice_name(task, static_cast<std::int64_t>(text)), ": ", length,
             " tokens exceed the context of ", context,
             "; set overlong: windows or a longer context");
    GM_CHECK(length > first_scored, kInvalidArgument,
             choice_name(task, static_cast<std::int64_t>(text)), ": none of its ", ids.size(),
             " tokens is scored, so its score would be 0 and beat any other",
             rules.first_token == "free" ? "; use first_token: scored" : "");
    const std::int64_t windows = set.add(tokens, first_scored);

    PairRecord& record = records[text / 2];
    const PairItem& item = task.items[text / 2];
    const std::string& sentence = text % 2 == 0 ? item.good : item.bad;
    record.windowed |= windows > 1;
    record.tokens[text % 2] = std::max<std::int64_t>(0, length - first_scored);
    record.characters[text % 2] = count_characters(sentence);
    record.bytes[text % 2] = static_cast<std::int64_t>(sentence.size());
  }

  const std::vector<double> sums = set.combine(score_sums(
      model, set.requests(),
      [&](std::int64_t request) { return choice_name(task, set.sequence_of(request)); }, options,
      comm));
  for (std::size_t i = 0; i < records.size(); ++i) {
    PairRecord& record = records[i];
    record.id = task.items[i].id;
    record.paradigm = task.items[i].paradigm;
    record.phenomenon = task.items[i].phenomenon;
    record.cluster = task.items[i].cluster;
    record.log_prob = {sums[2 * i], sums[2 * i + 1]};
    decide(record, rules);
  }
  return records;
}

double pair_score(const PairRecord& item, int choice, const std::string& normalisation) {
  const auto c = static_cast<std::size_t>(choice);
  if (normalisation == "sum") {
    return item.log_prob[c];
  }
  const std::int64_t length = normalisation == "token"       ? item.tokens[c]
                              : normalisation == "character" ? item.characters[c]
                                                             : item.bytes[c];
  return length == 0 ? 0.0 : item.log_prob[c] / static_cast<double>(length);
}

void decide(PairRecord& item, const PairRules& rules) {
  GM_CHECK(rules.normalisation != "token" || (item.tokens[0] > 0 && item.tokens[1] > 0),
           kInvalidArgument, "item '", item.id,
           "': no token is scored, so there is no score per token; use first_token: scored");
  const double good = pair_score(item, 0, rules.normalisation);
  const double bad = pair_score(item, 1, rules.normalisation);
  item.tie = good == bad;
  item.correct = good > bad || (item.tie && rules.tie == "right");
}

}  // namespace growmerge::eval
