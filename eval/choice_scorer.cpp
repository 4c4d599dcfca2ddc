#include "eval/choice_scorer.h"

#include <algorithm>
#include <string_view>

#include "core/base/error.h"
#include "eval/request_set.h"

namespace growmerge::eval {
namespace {

/// Where a choice stands: choices of all items are numbered one behind the other.
struct Place {
  std::size_t item = 0;
  std::size_t choice = 0;
};

std::vector<Place> places_of(const Task& task) {
  std::vector<Place> places;
  for (std::size_t item = 0; item < task.items.size(); ++item) {
    for (std::size_t choice = 0; choice < task.items[item].choices.size(); ++choice) {
      places.push_back({item, choice});
    }
  }
  return places;
}

std::string choice_name(const Task& task, const Place& place) {
  const Item& item = task.items[place.item];
  const std::string which = item.choices.size() == 2
                                ? (place.choice == 0 ? "good sentence" : "bad sentence")
                                : concat("choice ", place.choice);
  return concat(task.name, ": item '", item.id, "', ", which);
}

}  // namespace

EncodedTexts encode_choices(const Task& task, const std::string& delimiter,
                            const Tokenizer& tokenizer, Communicator& comm) {
  const std::vector<Place> places = places_of(task);
  std::vector<std::string> delimited;
  std::vector<std::string_view> texts;
  delimited.reserve(delimiter.empty() ? 0 : places.size());  // views into it must stay valid
  texts.reserve(places.size());
  for (const Place& place : places) {
    const std::string& text = task.items[place.item].choices[place.choice];
    if (delimiter.empty()) {
      texts.emplace_back(text);
    } else {
      texts.emplace_back(delimited.emplace_back(delimiter + text));
    }
  }
  return encode_all(
      tokenizer, texts,
      [&](std::int64_t text) { return choice_name(task, places[static_cast<std::size_t>(text)]); },
      comm);
}

std::vector<ItemRecord> score_choices(const Model& model, const Task& task,
                                      const EncodedTexts& encoded, const ScoringRules& rules,
                                      std::int64_t context, const ScorerOptions& options,
                                      Communicator& comm) {
  rules.validate();
  const std::vector<Place> places = places_of(task);
  GM_ASSERT(encoded.size() == places.size());
  const std::optional<std::int32_t> prefix = prefix_token(model.config, rules.prefix);

  RequestSet set(context);
  std::vector<ItemRecord> records(task.items.size());
  std::vector<std::int32_t> tokens;
  for (std::size_t text = 0; text < encoded.size(); ++text) {
    const std::vector<std::int32_t>& ids = encoded[text].ids;
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
             choice_name(task, places[text]), ": ", length, " tokens exceed the context of ",
             context, "; set overlong: windows or a longer context");
    GM_CHECK(length > first_scored, kInvalidArgument, choice_name(task, places[text]),
             ": none of its ", ids.size(),
             " tokens is scored, so its score would be 0 and beat any other",
             rules.first_token == "free" ? "; use first_token: scored" : "");
    const std::int64_t windows = set.add(tokens, first_scored);

    ItemRecord& record = records[places[text].item];
    const std::string& sentence = task.items[places[text].item].choices[places[text].choice];
    record.windowed |= windows > 1;
    record.tokens.push_back(length - first_scored);
    record.characters.push_back(count_characters(sentence));
    record.bytes.push_back(static_cast<std::int64_t>(sentence.size()));
  }

  const std::vector<double> sums = set.combine(score_sums(
      model, set.requests(),
      [&](std::int64_t request) {
        return choice_name(task, places[static_cast<std::size_t>(set.sequence_of(request))]);
      },
      options, comm));
  for (std::size_t text = 0; text < sums.size(); ++text) {
    records[places[text].item].log_prob.push_back(sums[text]);
  }
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Item& item = task.items[i];
    records[i].id = item.id;
    records[i].paradigm = item.paradigm;
    records[i].phenomenon = item.phenomenon;
    records[i].cluster = item.cluster;
    records[i].gold = item.gold;
    decide(records[i], rules);
  }
  return records;
}

double choice_score(const ItemRecord& item, std::size_t choice, const std::string& normalisation) {
  if (normalisation == "sum") {
    return item.log_prob[choice];
  }
  const std::int64_t length = normalisation == "token"       ? item.tokens[choice]
                              : normalisation == "character" ? item.characters[choice]
                                                             : item.bytes[choice];
  return length == 0 ? 0.0 : item.log_prob[choice] / static_cast<double>(length);
}

void decide(ItemRecord& item, const ScoringRules& rules) {
  GM_CHECK(rules.normalisation != "token" ||
               std::all_of(item.tokens.begin(), item.tokens.end(), [](auto n) { return n > 0; }),
           kInvalidArgument, "item '", item.id,
           "': no token is scored, so there is no score per token; use first_token: scored");
  GM_ASSERT(item.gold.has_value());
  const auto gold = static_cast<std::size_t>(*item.gold);
  const double right = choice_score(item, gold, rules.normalisation);
  bool best = true;  // none scores higher
  item.tie = false;
  for (std::size_t i = 0; i < item.log_prob.size(); ++i) {
    if (i != gold) {
      const double other = choice_score(item, i, rules.normalisation);
      best = best && right >= other;
      item.tie = item.tie || right == other;
    }
  }
  item.tie = item.tie && best;
  item.correct = best && (!item.tie || rules.tie == "right");
}

}  // namespace growmerge::eval
