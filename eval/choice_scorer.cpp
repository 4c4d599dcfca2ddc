#include "eval/choice_scorer.h"

#include <algorithm>
#include <string_view>

#include "core/base/error.h"
#include "core/base/white_space.h"
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
  const bool pair = item.choices.size() == 2 && item.context.empty();
  const std::string which = !pair               ? concat("choice ", place.choice)
                            : place.choice == 0 ? "good sentence"
                                                : "bad sentence";
  return concat(task.name, ": item '", item.id, "', ", which);
}

/// The context without the white space at its end, which belongs to the choices: tokenizers join it
/// to the word behind (as lm-eval does).
std::string_view trimmed(const std::string& context) {
  const std::string_view text = strip(context);
  return text.empty() ? text
                      : std::string_view(
                            context.data(),
                            static_cast<std::size_t>(text.data() - context.data()) + text.size());
}

/// Encodes the choices of places[wanted[...]], each jointly with its context, which ends behind as
/// many tokens as it has alone.
void encode_part(const Task& task, const ScoringRules& rules, const Tokenizer& tokenizer,
                 const std::vector<Place>& places, const std::vector<std::size_t>& wanted,
                 bool add_special, Communicator& comm, EncodedTexts& encoded) {
  std::vector<std::string> joined;
  std::vector<std::string_view> texts;
  std::vector<std::string_view> contexts;  // once for all choices of an item
  std::vector<std::size_t> context_of;
  joined.reserve(wanted.size());  // views into it must stay valid
  for (const std::size_t i : wanted) {
    const Item& item = task.items[places[i].item];
    const std::string& choice = item.choices[places[i].choice];
    if (item.context.empty() && rules.delimiter.empty()) {
      texts.emplace_back(choice);
    } else {
      texts.emplace_back(joined.emplace_back(item.context + rules.delimiter + choice));
    }
    const std::string_view context = trimmed(item.context);
    if (contexts.empty() || contexts.back() != context) {
      contexts.push_back(context);
    }
    context_of.push_back(contexts.size() - 1);
  }
  const auto name_of = [&](std::int64_t text) {
    return choice_name(task, places[wanted[static_cast<std::size_t>(text)]]);
  };
  EncodedTexts whole = encode_all(tokenizer, texts, name_of, comm, add_special);
  const auto name_context = [&](std::int64_t) { return task.name + ": a context"; };
  const EncodedTexts fronts = encode_all(tokenizer, contexts, name_context, comm, add_special);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const std::string_view context = contexts[context_of[i]];
    EncodedText& text = encoded[wanted[i]];
    text.ids = std::move(whole[i].ids);
    text.context = context.empty() ? 0
                                   : static_cast<std::int64_t>(std::min(
                                         fronts[context_of[i]].ids.size(), text.ids.size()));
  }
}

/// One text as the model gets it.
struct Sequence {
  std::vector<std::int32_t> tokens;
  std::int64_t first_scored = 1;
  bool cut = false;  // its context lost its beginning
};

Sequence sequence_of(const EncodedText& text, std::optional<std::int32_t> prefix,
                     const ScoringRules& rules, std::int64_t context) {
  Sequence out;
  const std::vector<std::int32_t>& ids = text.ids;
  // What the tokenizer put in front of a context stays as it is, and nothing comes before it.
  const bool wants_prefix = prefix && (text.context == 0 || rules.prefix != "tokenizer");
  if (wants_prefix && (ids.empty() || ids.front() != *prefix)) {
    out.tokens.push_back(*prefix);
  }
  if (text.context > 0) {
    out.first_scored = static_cast<std::int64_t>(out.tokens.size()) + text.context;
  } else if (rules.first_token == "free" && prefix) {
    // Behind a prefix the first token of the sentence could be scored; "free" leaves it out.
    out.first_scored = 2;
  }
  out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
  const std::int64_t excess = static_cast<std::int64_t>(out.tokens.size()) - 1 - context;
  if (rules.overlong == "truncate" && excess > 0 && excess < out.first_scored) {
    out.tokens.erase(out.tokens.begin(), out.tokens.begin() + excess);
    out.first_scored -= excess;
    out.cut = true;
  }
  return out;
}

}  // namespace

EncodedTexts encode_choices(const Task& task, const ScoringRules& rules, const Tokenizer& tokenizer,
                            Communicator& comm) {
  const std::vector<Place> places = places_of(task);
  EncodedTexts encoded(places.size());
  // Two rounds: what the tokenizer adds by itself is wanted behind contexts alone.
  for (const bool behind_context : {false, true}) {
    std::vector<std::size_t> wanted;
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (task.items[places[i].item].context.empty() != behind_context) {
        wanted.push_back(i);
      }
    }
    encode_part(task, rules, tokenizer, places, wanted,
                behind_context && rules.prefix == "tokenizer", comm, encoded);
  }
  return encoded;
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
  for (std::size_t text = 0; text < encoded.size(); ++text) {
    const Place& place = places[text];
    const Sequence sequence = sequence_of(encoded[text], prefix, rules, context);
    const auto length = static_cast<std::int64_t>(sequence.tokens.size());
    GM_CHECK(length - 1 <= context || rules.overlong == "windows", kInvalidArgument,
             choice_name(task, place), ": ", length, " tokens exceed the context of ", context,
             "; set overlong: windows or a longer context");
    GM_CHECK(length > sequence.first_scored, kInvalidArgument, choice_name(task, place),
             ": none of its ", encoded[text].ids.size(),
             " tokens is scored, so its score would be 0 and beat any other",
             rules.first_token == "free" ? "; use first_token: scored" : "");
    const std::int64_t windows = set.add(sequence.tokens, sequence.first_scored);

    ItemRecord& record = records[place.item];
    const std::string& choice = task.items[place.item].choices[place.choice];
    record.windowed |= windows > 1 || sequence.cut;
    record.context_tokens = encoded[text].context;
    record.tokens.push_back(length - sequence.first_scored);
    record.characters.push_back(count_characters(choice));
    record.bytes.push_back(static_cast<std::int64_t>(choice.size()));
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

std::int64_t rank_of_gold(const ItemRecord& item, const ScoringRules& rules) {
  GM_ASSERT(item.gold.has_value());
  const auto gold = static_cast<std::size_t>(*item.gold);
  const double right = choice_score(item, gold, rules.normalisation);
  std::int64_t rank = 1;
  for (std::size_t i = 0; i < item.log_prob.size(); ++i) {
    const double other = choice_score(item, i, rules.normalisation);
    const bool wins_tie = rules.tie == "wrong" || (rules.tie == "first" && i < gold);
    rank += i != gold && (other > right || (other == right && wins_tie)) ? 1 : 0;
  }
  return rank;
}

void decide(ItemRecord& item, const ScoringRules& rules) {
  GM_CHECK(rules.normalisation != "token" ||
               std::all_of(item.tokens.begin(), item.tokens.end(), [](auto n) { return n > 0; }),
           kInvalidArgument, "item '", item.id,
           "': no token is scored, so there is no score per token; use first_token: scored");
  item.tie = false;
  const auto gold = static_cast<std::size_t>(*item.gold);
  const double right = choice_score(item, gold, rules.normalisation);
  bool best = true;
  for (std::size_t i = 0; i < item.log_prob.size(); ++i) {
    const double other = choice_score(item, i, rules.normalisation);
    best = best && other <= right;
    item.tie = item.tie || (i != gold && other == right);
  }
  item.tie = item.tie && best;
  item.correct = rank_of_gold(item, rules) == 1;
}

}  // namespace growmerge::eval
