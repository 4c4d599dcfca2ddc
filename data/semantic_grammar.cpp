#include "data/semantic_grammar.h"

#include <cmath>
#include <utility>

#include "core/base/error.h"

namespace growmerge::data {
namespace {

// Probabilities of each choice. They are part of the language: other numbers, another entropy.
constexpr double kPlural = 0.4;
constexpr double kDefinite = 0.6;
constexpr double kAdjective = 0.35;
constexpr double kPast = 0.5;
constexpr double kPlaceNamed = 0.4;
constexpr std::uint64_t kTransitiveOf10 = 7;

/// -log2 of what was chosen.
double choice_bits(bool taken, double probability) {
  return -std::log2(taken ? probability : 1.0 - probability);
}

/// In bits; p is neither 0 nor 1.
double binary_entropy(double p) { return -p * std::log2(p) - (1.0 - p) * std::log2(1.0 - p); }

/// Zipf-like weights over `count` things in an order of their own, of which only the first `used`
/// occur.
Categorical shuffled_zipf(std::int64_t count, std::int64_t used, std::uint64_t seed,
                          const std::string& name) {
  std::vector<double> weights(static_cast<std::size_t>(count), 0.0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t rank = permuted_index(
        static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(count), seed, stream_id(name));
    if (rank < static_cast<std::uint64_t>(used)) {
      // Flatter at the head than 1 / rank: with so few words the first would be most of the text.
      weights[static_cast<std::size_t>(i)] = 1.0 / (static_cast<double>(rank) + 2.0);
    }
  }
  return Categorical(std::move(weights));
}

}  // namespace

Categorical::Categorical(std::vector<double> weights) : probabilities_(std::move(weights)) {
  double sum = 0.0;
  for (const double weight : probabilities_) {
    sum += weight;
  }
  GM_ASSERT(sum > 0.0);
  for (double& probability : probabilities_) {
    probability /= sum;
  }
}

std::int32_t Categorical::sample(double uniform) const {
  // By subtraction; rounding may leave a rest behind the last, which then is the one.
  std::int32_t last = 0;
  for (std::int32_t i = 0; i < size(); ++i) {
    if (probability(i) > 0.0) {
      last = i;
      uniform -= probability(i);
      if (uniform < 0.0) {
        break;
      }
    }
  }
  return last;
}

double Categorical::entropy_bits() const {
  double bits = 0.0;
  for (const double p : probabilities_) {
    bits -= p > 0.0 ? p * std::log2(p) : 0.0;
  }
  return bits;
}

SemanticGrammar::SemanticGrammar(const GrammarSize& size, std::uint64_t seed) : size_(size) {
  GM_CHECK(
      size.nouns_per_kind >= 2 && size.verbs >= 2 && size.adjectives >= 2 && size.prepositions >= 1,
      kInvalidArgument,
      "an artificial grammar needs at least 2 nouns a kind, 2 verbs, 2 "
      "adjectives and 1 preposition");
  // Places do nothing: who acts is a person, an animal or a thing.
  agent_kind_ = Categorical({0.5, 0.35, 0.15, 0.0});
  const Philox random(seed, stream_id("artificial grammar"));
  std::uint64_t next = 0;
  for (int kind = 0; kind < kNumNounKinds; ++kind) {
    const std::string suffix = std::to_string(kind);
    noun_.push_back(
        shuffled_zipf(size.nouns_per_kind, size.nouns_per_kind, seed, "nouns" + suffix));
    // Half of the adjectives and two thirds of the verbs go with a kind of noun: what fits what is
    // to be learnt.
    adjective_.push_back(
        shuffled_zipf(size.adjectives, (size.adjectives + 1) / 2, seed, "adjectives" + suffix));
    verb_.push_back(shuffled_zipf(size.verbs, (2 * size.verbs + 2) / 3, seed, "verbs" + suffix));
  }
  for (std::int64_t verb = 0; verb < size.verbs; ++verb) {
    transitive_.push_back(random.below(next++, 10) < kTransitiveOf10);
    std::vector<double> kinds(kNumNounKinds, 0.0);
    // May hit the same kind twice, which makes a verb with one kind of object.
    kinds[random.below(next++, kNumNounKinds)] += 0.8;
    kinds[random.below(next++, kNumNounKinds)] += 0.2;
    object_kind_.emplace_back(std::move(kinds));
  }
  preposition_ = shuffled_zipf(size.prepositions, size.prepositions, seed, "prepositions");
}

// The order of draws is part of the format: documents of a seed follow from it. bits() and
// expected_*() below take the same choices in the same order.
NounPhrase SemanticGrammar::sample_phrase(NounKind kind, Draws& draws) const {
  const auto k = static_cast<std::size_t>(kind);
  NounPhrase phrase;
  phrase.noun = static_cast<std::int32_t>(k) * static_cast<std::int32_t>(size_.nouns_per_kind) +
                noun_[k].sample(draws.uniform());
  phrase.plural = draws.uniform() < kPlural;
  phrase.definite = draws.uniform() < kDefinite;
  if (draws.uniform() < kAdjective) {
    phrase.adjective = adjective_[k].sample(draws.uniform());
  }
  return phrase;
}

Meaning SemanticGrammar::sample(Draws& draws) const {
  Meaning meaning;
  const std::int32_t kind = agent_kind_.sample(draws.uniform());
  meaning.agent = sample_phrase(static_cast<NounKind>(kind), draws);
  meaning.verb = verb_[static_cast<std::size_t>(kind)].sample(draws.uniform());
  meaning.past = draws.uniform() < kPast;
  const auto verb = static_cast<std::size_t>(meaning.verb);
  meaning.has_object = transitive_[verb];
  if (meaning.has_object) {
    meaning.object =
        sample_phrase(static_cast<NounKind>(object_kind_[verb].sample(draws.uniform())), draws);
  }
  if (draws.uniform() < kPlaceNamed) {
    meaning.preposition = preposition_.sample(draws.uniform());
    meaning.place = sample_phrase(NounKind::kPlace, draws);
  }
  return meaning;
}

double SemanticGrammar::phrase_bits(const NounPhrase& phrase) const {
  const auto kind = static_cast<std::size_t>(kind_of(phrase.noun));
  const auto per_kind = static_cast<std::int32_t>(size_.nouns_per_kind);
  // The noun's kind is paid for by who chose it (the agent, the verb or the place).
  double bits = -std::log2(noun_[kind].probability(phrase.noun % per_kind));
  bits += choice_bits(phrase.plural, kPlural) + choice_bits(phrase.definite, kDefinite);
  bits += choice_bits(phrase.adjective >= 0, kAdjective);
  if (phrase.adjective >= 0) {
    bits -= std::log2(adjective_[kind].probability(phrase.adjective));
  }
  return bits;
}

double SemanticGrammar::bits(const Meaning& meaning) const {
  const auto agent = static_cast<std::int32_t>(kind_of(meaning.agent.noun));
  const auto verb = static_cast<std::size_t>(meaning.verb);
  double bits = -std::log2(agent_kind_.probability(agent)) + phrase_bits(meaning.agent);
  bits -= std::log2(verb_[static_cast<std::size_t>(agent)].probability(meaning.verb));
  bits += choice_bits(meaning.past, kPast);
  if (meaning.has_object) {
    const auto kind = static_cast<std::int32_t>(kind_of(meaning.object.noun));
    bits += phrase_bits(meaning.object) - std::log2(object_kind_[verb].probability(kind));
  }
  bits += choice_bits(meaning.preposition >= 0, kPlaceNamed);
  if (meaning.preposition >= 0) {
    bits += phrase_bits(meaning.place) - std::log2(preposition_.probability(meaning.preposition));
  }
  return bits;
}

SentenceExpectation SemanticGrammar::expected_phrase(NounKind kind,
                                                     const SurfaceLengths& lengths) const {
  const auto k = static_cast<std::size_t>(kind);
  SentenceExpectation out;
  out.bits = noun_[k].entropy_bits() + binary_entropy(kPlural) + binary_entropy(kDefinite) +
             binary_entropy(kAdjective) + kAdjective * adjective_[k].entropy_bits();
  for (std::int32_t index = 0; index < noun_[k].size(); ++index) {
    const auto noun = static_cast<std::int32_t>(k) * noun_[k].size() + index;
    for (const bool plural : {false, true}) {
      const double p = noun_[k].probability(index) * (plural ? kPlural : 1.0 - kPlural);
      for (const bool definite : {false, true}) {
        out.bytes +=
            p * (definite ? kDefinite : 1.0 - kDefinite) * lengths.noun(noun, plural, definite);
      }
      for (std::int32_t a = 0; a < adjective_[k].size(); ++a) {
        // With the space beside it.
        out.bytes += p * kAdjective * adjective_[k].probability(a) *
                     (lengths.adjective(a, noun, plural) + 1.0);
      }
    }
  }
  return out;
}

SentenceExpectation SemanticGrammar::expected_sentence(const SurfaceLengths& lengths) const {
  std::vector<SentenceExpectation> phrase;
  for (int kind = 0; kind < kNumNounKinds; ++kind) {
    phrase.push_back(expected_phrase(static_cast<NounKind>(kind), lengths));
  }
  SentenceExpectation out;
  out.bits = agent_kind_.entropy_bits() + binary_entropy(kPast) + binary_entropy(kPlaceNamed);
  for (std::size_t k = 0; k < kNumNounKinds; ++k) {
    // Expectations over everything that the length depends on: the verb's form on its agent, the
    // adjective's on its noun.
    const double p_agent = agent_kind_.probability(static_cast<std::int32_t>(k));
    // Places, which never act.
    if (p_agent == 0.0) {
      continue;
    }
    out.bits += p_agent * (phrase[k].bits + verb_[k].entropy_bits());
    out.bytes += p_agent * phrase[k].bytes;
    for (std::int32_t v = 0; v < verb_[k].size(); ++v) {
      const double p_verb = p_agent * verb_[k].probability(v);
      for (std::int32_t index = 0; index < noun_[k].size(); ++index) {
        const auto agent = static_cast<std::int32_t>(k) * noun_[k].size() + index;
        for (const bool past : {false, true}) {
          for (const bool plural : {false, true}) {
            out.bytes += p_verb * noun_[k].probability(index) * (past ? kPast : 1.0 - kPast) *
                         (plural ? kPlural : 1.0 - kPlural) *
                         (lengths.verb(v, past, agent, plural) + 1.0);
          }
        }
      }
      if (transitive_[static_cast<std::size_t>(v)]) {
        const Categorical& kinds = object_kind_[static_cast<std::size_t>(v)];
        out.bits += p_verb * kinds.entropy_bits();
        for (std::int32_t o = 0; o < kNumNounKinds; ++o) {
          out.bits += p_verb * kinds.probability(o) * phrase[static_cast<std::size_t>(o)].bits;
          out.bytes +=
              p_verb * kinds.probability(o) * (phrase[static_cast<std::size_t>(o)].bytes + 1.0);
        }
      }
    }
  }
  const SentenceExpectation& place = phrase[static_cast<std::size_t>(NounKind::kPlace)];
  out.bits += kPlaceNamed * (preposition_.entropy_bits() + place.bits);
  out.bytes += kPlaceNamed * (place.bytes + 1.0);
  for (std::int32_t i = 0; i < preposition_.size(); ++i) {
    out.bytes += kPlaceNamed * preposition_.probability(i) * (lengths.preposition(i) + 1.0);
  }
  return out;
}

}  // namespace growmerge::data
